import { readdirSync, readFileSync } from 'node:fs'
import { cpus } from 'node:os'

/** Seconds that were lost to others so far. */
export interface LostTime {
  /** This process's threads were ready to run and another one, perhaps their own process's, had their core; null where the system does not count it. */
  readonly waiting: number | null
  /** The hypervisor gave the cores to other machines. */
  readonly stolen: number
  /** Cores were busy with anything but this process: by thread, or in one sum where the system does not count threads. */
  readonly others: ReadonlyMap<string, number>
}

/** Share of the threads' time that may be lost before a sample is taken again. */
const tolerated = 0.05
/** Ticks of /proc/stat are 10 ms, and an interval may catch one that began before it. */
const tickSeconds = 0.01

/** Starts watching; the function returned says whether a sample of so many seconds on `threads` threads of the process was disturbed. */
export function watchDisturbance(threads: number, pid: number = process.pid): (seconds: number) => boolean {
  const before = lostTime(pid)
  return (seconds) => isDisturbed(before, lostTime(pid), seconds, threads)
}

export function isDisturbed(before: LostTime, after: LostTime, seconds: number, threads: number): boolean {
  const allowed = tolerated * seconds * threads
  const others = busySince(before.others, after.others)
  // Threads of one process wait for each other too (one that enqueues short calls, and those that run them), which is no disturbance: others must have
  // been busy as well. And others may be busy on a core that this process did not want.
  if (after.waiting !== null && before.waiting !== null) {
    if (Math.min(after.waiting - before.waiting, others) > allowed) return true
  } else if (others > allowed + 2 * tickSeconds) return true
  return after.stolen - before.stolen > allowed + tickSeconds
}

/** Threads that have ended meanwhile take their last moments with them, but not what they did before. */
function busySince(before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>): number {
  return [...after].reduce((sum, [thread, seconds]) => sum + Math.max(0, seconds - (before.get(thread) ?? 0)), 0)
}

function lostTime(pid: number): LostTime {
  const own = threadTimes(pid)
  if (own.length === 0) return { waiting: null, stolen: stolenSeconds(), others: new Map([['all', othersSeconds()]]) }
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && Number(name) !== pid)
  const others = new Map(
    pids.flatMap((other) => threadTimes(Number(other)).map(({ thread, running }): [string, number] => [thread, running])),
  )
  return { waiting: own.reduce((sum, { waiting }) => sum + waiting, 0), stolen: stolenSeconds(), others }
}

/** Linux: seconds on a core and on a run queue, by thread; none where that is not counted, or the process has ended. */
function threadTimes(pid: number): { thread: string; running: number; waiting: number }[] {
  try {
    return readdirSync(`/proc/${pid}/task`).map((thread) => {
      const [running, waiting] = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ', 2)
      return { thread, running: Number(running) / 1e9, waiting: Number(waiting) / 1e9 }
    })
  } catch {
    return []
  }
}

function stolenSeconds(): number {
  try {
    const fields = readFileSync('/proc/stat', 'utf8').split('\n', 1)[0]?.trim().split(/\s+/) ?? []
    return Number(fields[8] ?? 0) * tickSeconds
  } catch {
    return 0
  }
}

function othersSeconds(): number {
  const busy = cpus().reduce((sum, { times }) => sum + times.user + times.nice + times.sys + times.irq, 0) / 1e3
  const own = process.cpuUsage()
  return busy - (own.user + own.system) / 1e6
}
