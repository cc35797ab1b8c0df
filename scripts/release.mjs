// @ts-check
// npm run release: builds, packs every package into release/ and checks each tarball. Publishes nothing.
// npm run check:packages: the same checks on tarballs in a temporary folder.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { packAll, run } from './packages.mjs'
import { root } from './paths.mjs'
import { build } from './turbo.mjs'

const checkOnly = process.argv.includes('--check')

if (await build()) release()
else process.exitCode = 1

function release() {
  const destination = checkOnly ? mkdtempSync(join(tmpdir(), 'tilegrad-release-')) : join(root, 'release')
  if (!checkOnly) rmSync(destination, { recursive: true, force: true })
  mkdirSync(destination, { recursive: true })
  try {
    for (const { name, version, tarball, size, files } of packAll(destination)) {
      const complaints = [...publint(tarball), ...typesWrong(tarball)]
      console.log(
        `${complaints.length === 0 ? 'ok     ' : 'FAILED '} ${name}@${version}  ${files.length} files, ${Math.ceil(size / 1024)} KiB`,
      )
      for (const complaint of complaints) console.log(complaint)
      if (complaints.length > 0) process.exitCode = 1
    }
  } finally {
    if (checkOnly) rmSync(destination, { recursive: true, force: true })
  }
  if (!checkOnly) console.log(`Packed into ${destination}. Nothing was published.`)
}

/** @param {string} name */
function bin(name) {
  return join(root, 'node_modules', '.bin', name)
}

/** @param {string} tarball */
function publint(tarball) {
  const { status, stdout, stderr } = run(bin('publint'), ['run', '--strict', tarball])
  return status === 0 ? [] : [`${stdout}${stderr}`]
}

/**
 * The packages are ESM only, so require() and the resolution of before Node 12 are not asked for.
 * @param {string} tarball
 */
function typesWrong(tarball) {
  const { status, stdout, stderr } = run(bin('attw'), ['--profile', 'esm-only', '--no-color', tarball])
  return status === 0 ? [] : [`${stdout}${stderr}`]
}
