#!/usr/bin/env bash
# Guess: a page of a parquet file has about data_page_size bytes (1 MiB by default), so iter_batches(16) over a column
# of 100 kB pictures needs a few megabytes, at the latest with a read buffer.
# Seen (pyarrow 26.0.1, Python 3.11, Linux x86-64; 2,000 pictures of 100,000 random bytes, 200 MB, one row group): the
# writer looks at the page's size once in `write_batch_size` rows, 1,024 by default, so a page has 100 MB. Reading
# 16 rows at a time raises the peak memory by some 230 MB with or without buffer_size. Written with
# write_batch_size=16 it is 200 MB without buffer_size and 8 MB with 1 MiB: both settings are needed, one on each side.
# Who meets it: image sets in the layout of the Hugging Face hub, read on a machine with little memory.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check pyarrow==26.0.1 numpy==2.4.0
cd "$here"
cat > write.py <<'PY'
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

random = np.random.default_rng(0)
table = pa.table({"image": [random.bytes(100_000) for _ in range(2000)]})
for name, rows in (("default", 1024), ("small", 16)):
    pq.write_table(table, f"{name}.parquet", compression="none", use_dictionary=False, write_batch_size=rows)
PY
cat > read.py <<'PY'
import resource
import sys

import pyarrow.parquet as pq

file = pq.ParquetFile(sys.argv[1], buffer_size=int(sys.argv[2]), pre_buffer=False)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert sum(map(len, file.iter_batches(batch_size=16))) == 2000
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
PY
"$here/venv/bin/python" write.py
peak() { "$here/venv/bin/python" read.py "$1.parquet" "$2"; } # MB; started from here, as a child inherits its parent's peak
default=$(peak default 1048576) bare=$(peak small 0) both=$(peak small 1048576)
echo "peak memory in MB: pages of 1,024 rows $default; of 16 rows $bare, with a buffer $both"
[ "$default" -gt 150 ] || { echo "a page of pictures is bounded now" >&2; exit 1; }
[ "$bare" -gt 100 ] || { echo "a buffer is not needed any more" >&2; exit 1; }
[ "$both" -lt 50 ] || { echo "both settings do not bound the memory" >&2; exit 1; }
