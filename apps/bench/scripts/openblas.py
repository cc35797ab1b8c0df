"""OpenBLAS for src/openblas.ts: openblas.py LIBRARY FILE M N K TRANSPOSE_A TRANSPOSE_B

FILE holds a, then b, float32, row by row. Each line of standard input is a number of products to compute, or "write", which replaces FILE
by c; each is answered by a line. The first line of the output says which library it is.
"""
import ctypes
import sys

library, file = sys.argv[1:3]
m, n, k, transpose_a, transpose_b = (int(argument) for argument in sys.argv[3:])
blas = ctypes.CDLL(library)
for describe in (blas.openblas_get_config, blas.openblas_get_corename):
    describe.restype = ctypes.c_char_p
version = blas.openblas_get_config().decode().split()[1]

Matrix = lambda rows, columns: ctypes.c_float * (rows * columns)
with open(file, "rb") as data:
    a = Matrix(m, k).from_buffer_copy(data.read(4 * m * k))
    b = Matrix(k, n).from_buffer_copy(data.read(4 * k * n))
c = Matrix(m, n)()

ROW_MAJOR, NO_TRANSPOSE, TRANSPOSE = 101, 111, 112
integer, real = ctypes.c_int, ctypes.c_float
arguments = (
    integer(ROW_MAJOR),
    integer(TRANSPOSE if transpose_a else NO_TRANSPOSE),
    integer(TRANSPOSE if transpose_b else NO_TRANSPOSE),
    *(integer(size) for size in (m, n, k)),
    *(real(1), a, integer(m if transpose_a else k), b, integer(k if transpose_b else n)),
    *(real(0), c, integer(n)),
)
sgemm = blas.cblas_sgemm
sgemm.restype = None

print(f"OpenBLAS {version} {blas.openblas_get_corename().decode()}", flush=True)
for line in sys.stdin:
    if line.strip() == "write":
        with open(file, "wb") as data:
            data.write(c)
    else:
        for _ in range(int(line)):
            sgemm(*arguments)
    print("done", flush=True)
