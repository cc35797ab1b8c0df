/**
 * The printable character that stands for each byte in byte-level vocabularies: GPT-2's `bytes_to_unicode`. Printable Latin-1 bytes
 * stand for themselves, the other 68 are numbered from U+0100.
 */
export const byteAlphabet: readonly string[] = /* @__PURE__ */ makeAlphabet()

function makeAlphabet(): string[] {
  let next = 0x100
  const printable = (byte: number) => (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad)
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++))
}
