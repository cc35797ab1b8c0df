import type { Backend, Kernels, Tensor } from '@tilegrad/tensor'

/** Wrong kernels, made of right ones. */
export type Mutation = (right: Kernels, backend: Backend) => Partial<Kernels>

/** By name: the group of cases that catches it, what is wrong, and what the failure says (by default that a result is off). */
export type Mutations = Readonly<Record<string, { readonly group: string; readonly mutate: Mutation; readonly says?: RegExp }>>

/** A backend whose kernels are `backend`'s but for some. */
export function mutant(backend: Backend, mutate: Mutation): Backend {
  const kernels = { ...backend.kernels, ...mutate(backend.kernels, backend) }
  return new Proxy(backend, {
    get: (target, key) => {
      if (key === 'kernels') return kernels
      const value = Reflect.get(target, key) as unknown
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

/** Row-major elements of a tensor of the reference backend, at once. */
export function elements(right: Kernels, x: Tensor): Float32Array {
  const copy = right.copy(x) as Tensor & { readonly storage: { readonly data: Float32Array } }
  const data = copy.storage.data.slice()
  copy.dispose()
  return data
}

/** Calls `then` with a tensor, and disposes it. */
export function using<T>(x: Tensor, then: (x: Tensor) => T): T {
  const result = then(x)
  x.dispose()
  return result
}
