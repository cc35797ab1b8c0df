/** Base of every error that Tilegrad throws on purpose. `name` tells them apart across package versions. */
export class TilegradError extends Error {
  override readonly name: string = 'TilegradError'
}
