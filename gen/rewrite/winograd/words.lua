-- words.lua: what emitted files say to people of Winograd's algorithm: the identity, its matrices, how tiles lie.
local toomcook = require "toomcook"
local grid = require "rewrite/winograd/grid"
local words = {}

-- A list of lines, and a function that adds one.
local function page()
  local lines = {}
  return lines, function(text, ...) lines[#lines + 1] = select("#", ...) > 0 and text:format(...) or text end
end

-- Rows of fractions as lines, columns aligned, after a title.
local function matrix_lines(say, title, rows)
  local width = {}
  for _, row in ipairs(rows) do
    for i, x in ipairs(row) do width[i] = math.max(width[i] or 0, #tostring(x)) end
  end
  for n, row in ipairs(rows) do
    local cells = {}
    for i, x in ipairs(row) do cells[i] = (" "):rep(width[i] - #tostring(x)) .. tostring(x) end
    say("  %-4s%s", n == 1 and title or "", table.concat(cells, "  "))
  end
end

local function scheme_lines(say, axis, scheme)
  if scheme.taps == 1 then return end
  local points = {}
  for i, p in ipairs(scheme.points) do points[i] = tostring(p) .. ", " end
  say("%s: F(%d,%d) at the points %sinfinity", axis, scheme.outputs, scheme.taps, table.concat(points))
  matrix_lines(say, "BT", scheme.BT)
  if not scheme.at then matrix_lines(say, "G", scheme.G) end
  matrix_lines(say, "AT", scheme.AT)
end

-- "14 = 2 x 4 + 2 x 3"
local function cover(axis, sizes)
  local big, small = grid.cover(axis, sizes)
  local text = ("%d = %d x %d"):format(axis.outputs, big, sizes[1])
  return small > 0 and ("%s + %d x %d"):format(text, small, sizes[2]) or text
end

-- The matrices of rows (h), then of columns (w), each once; a smaller tile's own after them.
local function all_schemes(say, h, w)
  local alike = #h == #w
  for i, a in ipairs(h) do alike = alike and a.outputs == w[i].outputs and a.taps == w[i].taps end
  local function schemes(what, list)
    for i, scheme in ipairs(list) do
      scheme_lines(say, (i == 1 and "" or "smaller tiles, which read the same U, ") .. what, scheme)
    end
  end
  schemes(alike and "rows and columns" or "rows", h)
  if not alike then schemes("columns", w) end
end

-- Of an axis: what a tile of all its phases has.
local function sizes_of(axis, scheme)
  local sum, taps, phases = 0, {}, grid.phases(axis)
  for i, phase in ipairs(phases) do sum, taps[i] = sum + grid.part(phase, scheme).size, tostring(phase.axis.taps) end
  return { taps = axis.taps, products = sum, inputs = (scheme.outputs - 1) * axis.step + axis.taps,
    short = phases[#phases].short, taps_of_phases = table.concat(taps, ", ") }
end

-- What a stride does; rows, columns: as above.
local function strided(say, p, rows, columns)
  say("Strides of %d x %d: taps and inputs that are a stride apart are a phase, which has no stride. Rows have phases "
    .. "of", p.stride[2], p.stride[3])
  say("%s taps, columns of %s; a phase of both is a set of input channels of its own, and M sums over all of them.",
    rows.taps_of_phases, columns.taps_of_phases)
  if rows.short or columns.short then
    say("Phases with a tap fewer have no frequency at infinity, the last one: their BT and G lack the last row and "
      .. "column.")
  end
end

-- What is kept where, and how U is made.
local function layout(say, s)
  if not (s.half or s.fuse) then
    say "V and M: [frequency][tile][channel]; U: [tile of channels of Y][frequency][channel of d][channel of Y]."
  else
    say("V and M: [frequency][tile][channel]; H: [tile of channels of Y][column of frequencies][channel of d]"
      .. "[row of taps][channel of Y].")
    say("H = g GT is half of U = G H: a product makes U from it in registers, each row but for a factor that M gets at "
      .. "the end.")
  end
  if s.fuse then say "H is made in the run, of a tile of channels of Y at a time; so nothing is packed." end
  if s.chunk then
    say("M is the sum of partial sums of at most %d channels of d each: shorter chains round less.", s.chunk)
  end
end

function words.gathering(p, s)
  local h_axis, w_axis = grid.axes(p)
  local h, w, back = grid.schemes(h_axis, s.h), grid.schemes(w_axis, s.w), p.pass == "backward_data"
  local rows, columns = sizes_of(h_axis, h[1]), sizes_of(w_axis, w[1])
  local lines, say = page()
  say("Winograd's algorithm: a tile of %d x %d outputs Y from a window d of %d x %d inputs, by %d products in place of "
    .. "%d a channel:", s.h[1], s.w[1], rows.inputs, columns.inputs, rows.products * columns.products,
    s.h[1] * s.w[1] * rows.taps * columns.taps)
  say("  U = G g GT of the weights g%s,  V = BT d B,  M[f] = sum over %sput channels of V[f] U[f],  Y = AT M A",
    back and " with taps reversed" or "", back and "out" or "in")
  say("with a frequency f = row * %d + column for each element of V, U and M. The outputs are cut into tiles as %s "
    .. "rows,", w[1].size, cover(h_axis, s.h))
  say("%s columns; about %d tiles go through V, M and Y before the next, so that V and M stay in the caches.",
    cover(w_axis, s.w), s.tiles)
  layout(say, s)
  if grid.dilated(p) then
    say("Dilated by %d x %d: rows and columns that far apart are a grid without dilation, and an image of its own.",
      p.dilation[2], p.dilation[3])
  end
  if grid.strided(p) then strided(say, p, rows, columns) end
  if p.layout == "nchw" then
    say "Windows of planes are laid out as pixels of channels before, and outputs as planes after."
  end
  all_schemes(say, h, w)
  return lines
end

function words.gradient(p, s)
  local h, w = toomcook.scheme(p.kernel[2], s.h[1]), toomcook.scheme(p.kernel[3], s.w[1])
  local lines, say = page()
  say("Winograd's algorithm: the gradient of %d x %d taps from a tile e of %d x %d of diff_dst and its window d of "
    .. "src, by %d products in place of %d:", h.outputs, w.outputs, h.taps, w.taps, h.size * w.size,
    h.outputs * w.outputs * h.taps * w.taps)
  say "  V = BT d B,  D = G e GT,  S[f] = sum over tiles of V[f] D[f],  Y = AT S A"
  say("with a frequency f = row * %d + column for each element of V, D and S; about %d tiles go through V, D and S "
    .. "before the next.", w.size, s.tiles)
  say("V: [frequency][tile][input channel]; D: [frequency][tile][output channel]; "
    .. "S: [frequency][input channel][output channel].")
  all_schemes(say, { h }, { w })
  return lines
end

return words
