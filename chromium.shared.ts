import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

/** The Chromium that browser suites run: TILEGRAD_CHROMIUM, which `npm test` sets, or the first on the path; undefined where there is none. */
export const chromiumPath: string | undefined = process.env.TILEGRAD_CHROMIUM || findChromium()

/** Why suites that need a browser cannot run, or undefined. */
export const noChromium = chromiumPath ? undefined : 'no Chromium found; install it or set TILEGRAD_CHROMIUM'

function findChromium(): string | undefined {
  const folders = (process.env.PATH ?? '').split(delimiter)
  const candidates = ['chromium', 'chromium-browser', 'google-chrome'].flatMap((name) => folders.map((folder) => join(folder, name)))
  return candidates.find((file) => {
    try {
      accessSync(file, constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}
