# How many times as fast convgen is, a bar for each thing that it is compared with, on a logarithmic axis. Needs: data, out, blocks.
set terminal svg size 860, 330 font "sans,14" background "white"
set output out
set style fill solid 0.9 noborder
set logscale x 2
stats data using 2 nooutput
rows = STATS_records
set xrange [1:1.9 * STATS_max]
set yrange [-0.6:rows - 0.4]
set ytics nomirror scale 0
set xtics ("as fast" 1, "2x" 2, "4x" 4, "8x" 8, "16x" 16, "32x" 32, "64x" 64, "128x" 128) nomirror
set border 3
set grid xtics
set key bottom right samplen 1
set title "How many times as fast convgen is, one thread"
at(row) = rows - 1 - row
colour(kind) = kind == 0 ? 0x4477aa : 0x228833
plot data using (sqrt($2)):(at($0)):(1):2:(at($0) - 0.36):(at($0) + 0.36):(colour($3)):ytic(1) skip 1 with boxxyerror lc rgb variable notitle, \
  data using 2:(at($0)):(sprintf(" %.1f", $2)) skip 1 with labels left font ",13" notitle, \
  NaN with boxes lc rgb 0x4477aa title "as NumPy's einsum, from Python", NaN with boxes lc rgb 0x228833 title "as oneDNN 2.6"
