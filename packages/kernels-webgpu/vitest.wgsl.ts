/** Lets tests import `.wgsl` files as text, as tsup does for the package. */
export const wgsl = {
  name: 'wgsl-as-text',
  transform(text: string, id: string) {
    return id.endsWith('.wgsl') ? { code: `export default ${JSON.stringify(text)}`, map: null } : undefined
  },
}
