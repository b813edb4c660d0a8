-- schemes.lua: sets of points with their errors; written by tools/points.lua, which says how they are measured.
--
-- points: finite ones, beside infinity. square: the normwise error over the plain loop's of outputs x outputs tiles of a
-- taps x taps kernel, line: of a 1 x taps kernel, at 1, 3, 16 and 64 channels. mixed: of tiles of two sizes, down and across.
local schemes = { channels = { 1, 3, 16, 64 } }

schemes.rows = {
  { outputs = 2, taps = 2, points = "0 1",
    square = { 2.06, 1.44, 1.14, 1.03 }, line = { 1.51, 1.35, 1.02, 0.95 } },
  { outputs = 3, taps = 2, points = "0 1 -1",
    square = { 1.91, 1.51, 1.04, 0.86 }, line = { 1.77, 1.29, 1.03, 0.93 } },
  { outputs = 4, taps = 2, points = "0 3/2 -3/2 1/2",
    square = { 6.35, 4.41, 2.59, 2.51 }, line = { 3.53, 2.41, 1.70, 1.62 } },
  { outputs = 5, taps = 2, points = "0 5/8 -5/8 3/2 -3/2",
    square = { 6.68, 5.28, 3.49, 2.89 }, line = { 3.85, 2.74, 1.93, 1.75 } },
  { outputs = 6, taps = 2, points = "0 7/8 -7/8 2 -2 3/8",
    square = { 23.01, 14.93, 10.90, 8.46 }, line = { 6.87, 6.24, 3.81, 3.23 } },
  { outputs = 7, taps = 2, points = "0 1/2 -1/2 1 -1 7/4 -7/4",
    square = { 28.85, 22.11, 16.47, 13.46 }, line = { 9.46, 5.87, 4.28, 3.46 } },
  { outputs = 2, taps = 3, points = "0 1 -1",
    square = { 1.68, 1.22, 0.74, 0.58 }, line = { 1.74, 1.20, 0.85, 0.75 } },
  { outputs = 3, taps = 3, points = "0 3/2 -3/2 1/2",
    square = { 4.80, 2.84, 1.72, 1.54 }, line = { 2.76, 1.96, 1.37, 1.25 } },
  { outputs = 4, taps = 3, points = "0 5/8 -5/8 3/2 -3/2",
    square = { 3.95, 3.62, 1.95, 1.64 }, line = { 2.92, 2.56, 1.63, 1.34 } },
  { outputs = 5, taps = 3, points = "0 7/8 -7/8 7/4 -7/4 3/8",
    square = { 13.26, 9.52, 6.09, 5.40 }, line = { 5.15, 4.81, 2.77, 2.52 } },
  { outputs = 6, taps = 3, points = "0 1/2 -1/2 1 -1 2 -2",
    square = { 17.77, 15.15, 9.37, 6.86 }, line = { 6.68, 5.01, 3.40, 2.94 } },
  { outputs = 2, taps = 4, points = "0 3/4 -3/4 2",
    square = { 3.41, 2.23, 1.40, 1.20 }, line = { 2.52, 1.79, 1.30, 1.13 } },
  { outputs = 3, taps = 4, points = "0 5/8 -5/8 3/2 -3/2",
    square = { 3.67, 2.91, 1.54, 1.33 }, line = { 3.18, 2.01, 1.31, 1.16 } },
  { outputs = 4, taps = 4, points = "0 7/8 -7/8 2 -2 3/8",
    square = { 11.21, 6.83, 4.45, 3.62 }, line = { 4.96, 3.98, 2.55, 1.97 } },
  { outputs = 5, taps = 4, points = "0 1/2 -1/2 1 -1 2 -2",
    square = { 14.87, 10.80, 6.55, 5.01 }, line = { 6.52, 4.47, 2.91, 2.45 } },
  { outputs = 2, taps = 5, points = "0 5/8 -5/8 3/2 -3/2",
    square = { 3.68, 2.53, 1.43, 1.18 }, line = { 2.87, 2.05, 1.31, 1.12 } },
  { outputs = 3, taps = 5, points = "0 7/8 -7/8 7/4 -7/4 3/8",
    square = { 10.70, 6.36, 3.86, 3.20 }, line = { 6.09, 3.82, 2.26, 1.85 } },
  { outputs = 4, taps = 5, points = "0 1/2 -1/2 1 -1 2 -2",
    square = { 11.49, 8.85, 5.06, 4.36 }, line = { 6.24, 4.20, 2.55, 2.08 } },
  { outputs = 2, taps = 6, points = "0 7/8 -7/8 7/4 -7/4 3/8",
    square = { 11.29, 6.19, 3.79, 3.12 }, line = { 5.39, 3.84, 2.27, 1.92 } },
  { outputs = 3, taps = 6, points = "0 1/2 -1/2 1 -1 2 -2",
    square = { 12.88, 8.40, 4.69, 3.75 }, line = { 5.06, 3.75, 2.65, 2.03 } },
  { outputs = 2, taps = 7, points = "0 1/2 -1/2 1 -1 7/4 -7/4",
    square = { 14.96, 8.54, 4.86, 3.92 }, line = { 6.15, 4.04, 2.42, 2.09 } },
}

schemes.mixed = {
  { outputs = { 2, 3 }, taps = 3, errors = { 3.05, 1.99, 1.20, 0.91 } },
  { outputs = { 2, 4 }, taps = 3, errors = { 3.10, 2.25, 1.25, 1.07 } },
  { outputs = { 2, 5 }, taps = 3, errors = { 5.76, 3.67, 2.31, 1.72 } },
  { outputs = { 2, 6 }, taps = 3, errors = { 6.74, 4.12, 2.56, 2.11 } },
  { outputs = { 3, 4 }, taps = 3, errors = { 4.90, 3.21, 2.04, 1.73 } },
  { outputs = { 3, 5 }, taps = 3, errors = { 7.33, 5.27, 3.19, 2.69 } },
  { outputs = { 3, 6 }, taps = 3, errors = { 9.84, 6.55, 3.90, 3.58 } },
  { outputs = { 4, 5 }, taps = 3, errors = { 7.59, 5.17, 3.66, 2.88 } },
  { outputs = { 4, 6 }, taps = 3, errors = { 11.04, 7.39, 4.20, 3.52 } },
  { outputs = { 5, 6 }, taps = 3, errors = { 16.13, 11.53, 7.08, 6.38 } },
  { outputs = { 2, 3 }, taps = 5, errors = { 6.86, 3.67, 2.47, 1.97 } },
  { outputs = { 2, 4 }, taps = 5, errors = { 6.97, 4.52, 2.67, 2.20 } },
  { outputs = { 3, 4 }, taps = 5, errors = { 11.14, 7.48, 4.72, 3.68 } },
}

return schemes
