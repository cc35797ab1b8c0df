import type { TopLevelSpec } from 'vega-lite'

/** One measured rate. */
export interface Point {
  readonly title: string
  readonly series: string
  readonly seqlen: number
  readonly gigaflops: number
}

/** Rates over the sequence length, a line per contender, as SVG. */
export async function drawLines(points: readonly Point[]): Promise<string> {
  const [vega, vegaLite] = await Promise.all([import('vega'), import('vega-lite')])
  const spec: TopLevelSpec = {
    width: 480,
    height: 300,
    background: 'white',
    title: points[0]?.title ?? '',
    data: { values: [...points] },
    mark: { type: 'line', point: true },
    encoding: {
      x: { field: 'seqlen', type: 'quantitative', scale: { type: 'log', base: 2 }, title: 'N' },
      y: { field: 'gigaflops', type: 'quantitative', title: 'GFLOP/s', scale: { zero: true } },
      color: { field: 'series', type: 'nominal', title: 'with' },
    },
  }
  return new vega.View(vega.parse(vegaLite.compile(spec).spec), { renderer: 'none' }).toSVG()
}
