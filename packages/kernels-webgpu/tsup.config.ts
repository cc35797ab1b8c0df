import { library } from '../../tsup.shared'

export default library({
  loader: { '.wgsl': 'text' },
  // The bundler of declarations drops the reference that index.ts has.
  dts: { entry: 'src/index.ts', banner: '/// <reference types="@webgpu/types" />' },
})
