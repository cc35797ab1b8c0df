/** How much of the grid runs: all of it, or what a browser page should take. */
export type Sizes = 'full' | 'small'
