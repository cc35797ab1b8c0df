/**
 * The layers of ARCHITECTURE.md, as rules: imports point down only, and nothing goes round in a circle.
 * Type-only imports count as imports between packages; inside a package types may refer to each other
 * (a Tensor names its Backend and a Backend makes Tensors).
 */
const layers = {
  'packages/tensor': [],
  'packages/core-math': ['packages/tensor'],
  'packages/kernels-cpu': ['packages/tensor', 'packages/core-math'],
  'packages/block-sparse': ['packages/tensor'],
  'packages/kernels-webgpu': ['packages/tensor', 'packages/core-math'],
  'packages/autograd': ['packages/tensor', 'packages/core-math'],
  'packages/transformer': ['packages/tensor', 'packages/core-math', 'packages/block-sparse', 'packages/autograd'],
  'packages/testing': ['packages/tensor', 'packages/core-math'],
  'apps/train-gpt': ['packages/(?!testing/)[^/]+'],
  'apps/bench': ['packages/(?!testing/)[^/]+'],
}

/** What a package's tests (x.test.ts) and their helpers (x.testing.ts) may import beyond what its sources may: the suite, and a backend to run on. */
const testLayers = {
  'packages/block-sparse': ['packages/core-math'],
  'packages/kernels-webgpu': ['packages/testing'],
  'packages/kernels-cpu': ['packages/testing'],
  'packages/autograd': ['packages/testing', 'packages/kernels-cpu'],
  'packages/transformer': ['packages/testing', 'packages/kernels-cpu'],
}

const tests = '[.]test(ing)?[.]ts$'

const layerRules = Object.entries(layers).flatMap(([folder, below]) => [
  {
    name: `layer-of-${folder}`,
    comment: `Sources of ${folder} may import ${below.join(', ') || 'no other package'}.`,
    severity: 'error',
    from: { path: `^${folder}/`, pathNot: tests },
    to: { path: '^(packages|apps)/', pathNot: [folder, ...below].map((path) => `^${path}/`) },
  },
  {
    name: `layer-of-tests-of-${folder}`,
    severity: 'error',
    from: { path: `^${folder}/.*${tests}` },
    to: { path: '^(packages|apps)/', pathNot: [folder, ...below, ...(testLayers[folder] ?? [])].map((path) => `^${path}/`) },
  },
])

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    ...layerRules,
    {
      name: 'unknown-package',
      comment: 'A new package gets its place in `layers` above.',
      severity: 'error',
      from: { path: '^(packages|apps)/', pathNot: Object.keys(layers).map((path) => `^${path}/`) },
      to: {},
    },
    {
      name: 'no-cycle',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'front-door-only',
      comment: 'Packages import each other as @tilegrad/<name>, never a file inside.',
      severity: 'error',
      from: { path: '^((?:packages|apps)/[^/]+)/' },
      to: {
        path: '^(packages|apps)/[^/]+/',
        pathNot: ['^$1/', '^packages/[^/]+/src/index[.]ts$', '^packages/testing/src/cases/index[.]ts$'],
      },
    },
    {
      name: 'sources-do-not-import-tests',
      severity: 'error',
      from: { path: '^(packages|apps)/', pathNot: tests },
      to: { path: tests },
    },
    {
      name: 'declared-dependencies-only',
      severity: 'error',
      from: { path: '^(packages|apps)/[^/]+/src/', pathNot: [tests, '^packages/testing/'] },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'], dependencyTypesNot: ['type-only', 'local', 'localmodule'] },
    },
    {
      name: 'resolvable',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true, pathNot: '^(?:node:|virtual:|@webgpu/types$)' },
    },
  ],
  options: {
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    combinedDependencies: false,
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '(^|/)(dist|build|fixtures|reports)/' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['types', 'import', 'node', 'default'] },
  },
}
