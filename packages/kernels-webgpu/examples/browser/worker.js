import { check } from './check.js'

check().then(
  (results) => postMessage({ results }),
  (error) => postMessage({ error: String(error) }),
)
