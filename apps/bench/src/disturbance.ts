import { readdirSync, readFileSync } from 'node:fs'
import { cpus } from 'node:os'

/** Seconds that were lost to others so far. */
export interface LostTime {
  /** This process's threads were ready to run and another one had their core; null where the system does not count it. */
  readonly waiting: number | null
  /** The hypervisor gave the cores to other machines. */
  readonly stolen: number
  /** Cores were busy with anything but this process. */
  readonly others: number
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
  // Threads of one process that outnumber its cores wait for each other too, which is why only the caller knows how many it has.
  if (after.waiting !== null && before.waiting !== null) {
    if (after.waiting - before.waiting > allowed) return true
  } else if (after.others - before.others > allowed + 2 * tickSeconds) return true
  return after.stolen - before.stolen > allowed + tickSeconds
}

function lostTime(pid: number): LostTime {
  return { waiting: waitingSeconds(pid), stolen: stolenSeconds(), others: othersSeconds() }
}

/** Linux: time on a run queue, the second number of each thread's schedstat. */
function waitingSeconds(pid: number): number | null {
  try {
    let nanoseconds = 0
    for (const task of readdirSync(`/proc/${pid}/task`)) {
      nanoseconds += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[1])
    }
    return nanoseconds / 1e9
  } catch {
    return null
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
