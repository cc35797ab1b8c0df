import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { GemmShape, ProductRunner } from './gemm'
import { processMemory, resetPeakMemory } from './memory'

/** Names the library where the system's linker does not find it. */
const libraryVariable = 'TILEGRAD_OPENBLAS'

/** sgemm of the OpenBLAS that the machine has, in a process of Python's, which can call a C library without a compiler. */
export async function openBlasRunner(a: Float32Array, b: Float32Array, shape: GemmShape, threads: number): Promise<ProductRunner> {
  const { m, n, k, transposeA = false, transposeB = false } = shape
  const library = findLibrary()
  const folder = mkdtempSync(join(tmpdir(), 'tilegrad-openblas-'))
  const file = join(folder, 'matrices')
  writeFileSync(file, Buffer.concat([a, b].map((x) => Buffer.from(x.buffer, x.byteOffset, x.byteLength))))
  const sizes = [m, n, k, Number(transposeA), Number(transposeB)].map(String)
  const coreType = coreTypeOf(processorFlags())
  const child = spawn('python3', [join(import.meta.dirname, '..', 'scripts', 'openblas.py'), library, file, ...sizes], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, OPENBLAS_NUM_THREADS: String(threads), ...(coreType ? { OPENBLAS_CORETYPE: coreType } : {}) },
  })
  let complaints = ''
  child.stderr.on('data', (chunk) => {
    complaints = `${complaints}${chunk}`
  })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const answer = async () => {
    const { value, done } = await lines.next()
    if (done) throw new Error(`OpenBLAS (${library}) ended: ${complaints.trim().split('\n').at(-1)}`)
    return value as string
  }
  const ask = (request: string) => {
    child.stdin.write(`${request}\n`)
    return answer()
  }
  const device = await answer()
  const pid = child.pid as number
  resetPeakMemory(pid)
  const before = processMemory(pid).bytes
  let waiting = 0
  return {
    device,
    pid,
    call: () => {
      waiting++
    },
    sync: async () => {
      const calls = waiting
      waiting = 0
      if (calls > 0) await ask(String(calls))
    },
    result: async () => {
      await ask('write')
      const bytes = readFileSync(file)
      return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + 4 * m * n))
    },
    memory: () => ({ processBytes: Math.max(0, processMemory(pid).peakBytes - before), tensorBytes: null }),
    close: async () => {
      child.stdin.end()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** What the dynamic linker calls it. */
function findLibrary(): string {
  const given = process.env[libraryVariable]
  if (given) return given
  let found = ''
  try {
    const program = 'import ctypes.util; print(ctypes.util.find_library("openblas") or "")'
    found = execFileSync('python3', ['-c', program], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    throw new Error('python3, which calls OpenBLAS here, does not run')
  }
  if (found === '')
    throw new Error(`no OpenBLAS on this machine (Debian: libopenblas0; ${libraryVariable} names the file of another place)`)
  return found
}

function processorFlags(): readonly string[] {
  try {
    return /^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1]?.trim().split(/\s+/) ?? []
  } catch {
    return []
  }
}

/** The kernels that OpenBLAS should take: processors newer than the library are taken for old ones, without their vectors. */
export function coreTypeOf(flags: readonly string[]): string | undefined {
  const has = (...names: string[]) => names.every((name) => flags.includes(name))
  if (has('avx512f', 'avx512dq', 'avx512bw', 'avx512vl')) return 'SkylakeX'
  return has('avx2', 'fma') ? 'Haswell' : undefined
}
