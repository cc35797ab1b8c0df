import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** Builds the command line and what it depends on, unless turbo runs this suite: then it has. Tests spawn the real program. */
export default function build(): void {
  if (process.env.TURBO_HASH) return
  const root = fileURLToPath(new URL('../../../../', import.meta.url))
  const { status } = spawnSync('npx', ['turbo', 'run', 'build', '--filter=@tilegrad/train-gpt', '--output-logs=errors-only'], {
    cwd: root,
    stdio: 'inherit',
    shell: process.platform === 'win32',
  })
  if (status !== 0) throw new Error('train-gpt or a package that it depends on does not build')
}
