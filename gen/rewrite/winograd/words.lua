-- words.lua: what emitted files say to people of Winograd's algorithm: the identity, its matrices, how tiles lie.
local toomcook = require "toomcook"
local grid = require "rewrite/winograd/grid"
local words = {}

-- Rows of fractions as lines, columns aligned, after a title.
local function matrix_lines(lines, title, rows)
  local width = {}
  for _, row in ipairs(rows) do
    for i, x in ipairs(row) do width[i] = math.max(width[i] or 0, #tostring(x)) end
  end
  for n, row in ipairs(rows) do
    local cells = {}
    for i, x in ipairs(row) do cells[i] = (" "):rep(width[i] - #tostring(x)) .. tostring(x) end
    lines[#lines + 1] = ("  %-4s%s"):format(n == 1 and title or "", table.concat(cells, "  "))
  end
end

local function point_text(scheme)
  local list = {}
  for i, p in ipairs(scheme.points) do list[i] = tostring(p) end
  list[#list + 1] = "infinity"
  return table.concat(list, ", ")
end

local function scheme_lines(lines, axis, scheme)
  if scheme.taps == 1 then return end
  lines[#lines + 1] = ("%s: F(%d,%d) at the points %s"):format(axis, scheme.outputs, scheme.taps, point_text(scheme))
  matrix_lines(lines, "BT", scheme.BT)
  if not scheme.at then matrix_lines(lines, "G", scheme.G) end
  matrix_lines(lines, "AT", scheme.AT)
end

-- "14 = 2 x 4 + 2 x 3"
local function cover(axis, sizes)
  local big, small = grid.cover(axis, sizes)
  local text = ("%d = %d x %d"):format(axis.outputs, big, sizes[1])
  return small > 0 and ("%s + %d x %d"):format(text, small, sizes[2]) or text
end

local function same(a, b) return a.outputs == b.outputs and a.taps == b.taps end

-- The matrices of rows (h), then of columns (w), each once; a smaller tile's own after them.
local function all_schemes(lines, h, w)
  local as_rows = #h == #w
  for i, scheme in ipairs(h) do as_rows = as_rows and same(scheme, w[i]) end
  for i, scheme in ipairs(h) do
    local what = as_rows and "rows and columns" or "rows"
    scheme_lines(lines, i == 1 and what or "smaller tiles, which read the same U, " .. what, scheme)
  end
  if as_rows then return end
  for i, scheme in ipairs(w) do scheme_lines(lines, i == 1 and "columns" or "smaller tiles, which read the same U, columns", scheme) end
end

-- Of a tile of m outputs of a kernel of r taps.
local function products(now, m, r) return ("%d products in place of %d"):format(now, m * r) end

-- Of an axis: what a tile of all its phases has.
local function sizes_of(axis, scheme)
  local sum, taps, phases = 0, {}, grid.phases(axis)
  for i, phase in ipairs(phases) do
    sum, taps[i] = sum + grid.part(phase, scheme).size, tostring(phase.axis.taps)
  end
  return { outputs = scheme.outputs, taps = axis.taps, products = sum, inputs = (scheme.outputs - 1) * axis.step + axis.taps,
    short = phases[#phases].short, taps_of_phases = table.concat(taps, ", ") }
end

-- What a stride does, h and w: as above.
local function strided(lines, p, h, w)
  lines[#lines + 1] = ("Strides of %d x %d: taps and inputs that are a stride apart are a phase, which has no stride. Rows have phases of"):format(
    p.stride[2], p.stride[3])
  lines[#lines + 1] = ("%s taps, columns of %s; a phase of both is a set of input channels of its own, and M sums over all of them."):format(
    h.taps_of_phases, w.taps_of_phases)
  if h.short or w.short then
    lines[#lines + 1] = "Phases with a tap fewer have no frequency at infinity, the last one: their BT and G lack the last row and column."
  end
end

function words.gathering(p, s)
  local h_axis, w_axis = grid.axes(p)
  local h, w, back = grid.schemes(h_axis, s.h), grid.schemes(w_axis, s.w), p.pass == "backward_data"
  local rows, columns = sizes_of(h_axis, h[1]), sizes_of(w_axis, w[1])
  local lines = {
    ("Winograd's algorithm: a tile of %d x %d outputs Y from a window d of %d x %d inputs, by %s a channel:"):format(s.h[1], s.w[1],
      rows.inputs, columns.inputs, products(rows.products * columns.products, s.h[1] * s.w[1], rows.taps * columns.taps)),
    back and "  U = G g GT of the weights g with taps reversed,  V = BT d B,  M[f] = sum over output channels of V[f] U[f],  Y = AT M A"
      or "  U = G g GT of the weights g,  V = BT d B,  M[f] = sum over input channels of V[f] U[f],  Y = AT M A",
    ("with a frequency f = row * %d + column for each element of V, U and M. The outputs are cut into tiles as %s rows,"):format(w[1].size,
      cover(h_axis, s.h)),
    ("%s columns; about %d tiles go through V, M and Y before the next, so that V and M stay in the caches."):format(
      cover(w_axis, s.w), s.tiles),
    "V and M: [frequency][tile][channel]; U: [tile of channels of Y][frequency][channel of d][channel of Y].",
  }
  if s.half or s.fuse then
    lines[#lines] = "V and M: [frequency][tile][channel]; H: [tile of channels of Y][column of frequencies][channel of d][row of taps][channel of Y]."
    lines[#lines + 1] = "H = g GT is half of U = G H: a product makes U from it in registers, each row but for a factor that M gets at the end."
  end
  if s.fuse then lines[#lines + 1] = "H is made in the run, of a tile of channels of Y at a time; so nothing is packed." end
  if s.chunk then
    lines[#lines + 1] = ("M is the sum of partial sums of at most %d channels of d each: shorter chains round less."):format(s.chunk)
  end
  if grid.dilated(p) then
    lines[#lines + 1] = ("Dilated by %d x %d: rows and columns that far apart are a grid without dilation, and an image of its own."):format(
      p.dilation[2], p.dilation[3])
  end
  if p.stride[2] > 1 or p.stride[3] > 1 then strided(lines, p, rows, columns) end
  if p.layout == "nchw" then lines[#lines + 1] = "Windows of planes are laid out as pixels of channels before, and outputs as planes after." end
  all_schemes(lines, h, w)
  return lines
end

function words.gradient(p, s)
  local h, w = toomcook.scheme(p.kernel[2], s.h[1]), toomcook.scheme(p.kernel[3], s.w[1])
  local lines = {
    ("Winograd's algorithm: the gradient of %d x %d taps from a tile e of %d x %d of diff_dst and its window d of src, by %s:"):format(
      h.outputs, w.outputs, h.taps, w.taps, products(h.size * w.size, h.outputs * w.outputs, h.taps * w.taps)),
    "  V = BT d B,  D = G e GT,  S[f] = sum over tiles of V[f] D[f],  Y = AT S A",
    ("with a frequency f = row * %d + column for each element of V, D and S; about %d tiles go through V, D and S before the next."):format(
      w.size, s.tiles),
    "V: [frequency][tile][input channel]; D: [frequency][tile][output channel]; S: [frequency][input channel][output channel].",
  }
  all_schemes(lines, { h }, { w })
  return lines
end

return words
