import { library } from '../../tsup.shared'

export default library({ entry: ['src/cli.ts'], dts: false })
