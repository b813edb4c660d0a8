# Speed over the best direct peer against the error over a plain loop's, a curve a layer. Needs: data, out, blocks.
set terminal svg size 900, 560 font "sans,13" background "white"
set output out
set logscale x 2
set xrange [0.5:8.5]
set yrange [0:*]
set xtics ("0.5" 0.5, "1" 1, "1.25" 1.25, "2.1" 2.1, "4" 4, "8" 8) nomirror
set ytics nomirror
set border 3
set grid ytics xtics
set xlabel "normwise error, times that of a plain loop"
set ylabel "times faster than oneDNN's best direct kernel"
set key bottom right
colours = "#332288 #56b4e9 #44aa99 #117733 #999933 #cc6677 #882255"
plot for [i = 0:blocks - 1] data index i using 1:2 with linespoints lw 2 pt 7 ps 0.7 lc rgb word(colours, i % 7 + 1) title columnheader(1)
