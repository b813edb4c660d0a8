-- window.lua: what a task reads of the channels of some groups, moved together into its scratch. Where the input is,
-- those of neighbouring pixels lie a whole pixel apart: in few sets of the caches, each line in a page of its own.
--
-- A task computes a band of rows, or sums a block of them; bands and windows are those of planes.lua. For channels-last
-- data.
local gather = require "gather"
local parts = require "parts"
local planes = require "rewrite/planes"
local reduce = require "reduce"
local relayout = require "relayout"
local cut = require "tiles"
local view = require "view"
local window = {}

window.node = { "window", when = "window" } -- in a schedule's name

---- the shape ---------------------------------------------------------------------------------------------------------

-- The shape of the same problem that is read from scratch, so many groups of it (one by default).
function window.child(s, groups)
  local known, key = s.windows or {}, groups or 1
  s.windows = known
  if not known[key] then
    local child = {}
    for field, value in pairs(s) do child[field] = value end
    child.from, child.source = view.moved(s.from, "scratch", key * s.from.channels), s.from
    child.rows_known, child.phases = {}, gather.phases(s)
    known[key] = child
  end
  return known[key]
end

-- Completes it for bands of so many rows; depth: planes of a window.
function window.plan(s, rows)
  local most, depth = 0, 0
  s.bands = planes.bands(s, rows)
  for _, band in ipairs(s.bands) do most = math.max(most, band.window.count) end
  for _, axis in ipairs(s.axes[1]) do depth = math.max(depth, planes.window({ axis }, 1).count) end
  s.from.d = most * s.from.h
  s.scratch = depth * s.from.d * s.size
end

-- Why such a schedule cannot be, or nil: rows for family.first.
function window.misfits(s, schedule)
  if s.p.layout == "nhwc" and s.p.groups > 1 then window.plan(s, schedule.rows) end
  return { { s.p.layout ~= "nhwc" or s.p.groups == 1, "a window is of channels-last data of several groups" },
    { schedule.across, "across is for pixels that are read where they are" },
    { (s.scratch or 0) > planes.most_scratch, "needs %d bytes of scratch a thread, at most %d", s.scratch or 0,
      planes.most_scratch } }
end

-- Calls visit(rows) for the largest bands of even sizes whose windows stay in a part of each of the nearest caches.
function window.each_size(s, visit)
  local outputs, before = s.axes[2][1].outputs, nil
  for _, most in ipairs { s.m.l2 // 4, s.m.l1 * 3 // 4 } do
    local pieces, rows = 1, outputs
    repeat
      rows = cut.even_size(outputs, (outputs + pieces - 1) // pieces)
      window.plan(s, rows)
      pieces = math.max(pieces + 1, math.min(outputs, pieces * s.scratch // most))
    until s.scratch <= most or rows == 1
    if rows ~= before then visit(rows) end
    before = rows
  end
end

-- Pixels of the windows of all tasks of a tile.
function window.pixels(s)
  local rows, planes_read = 0, 0
  for _, band in ipairs(s.bands) do rows = rows + band.count * band.window.count end
  for _, axis in ipairs(s.axes[1]) do planes_read = planes_read + axis.outputs * planes.window({ axis }, 1).count end
  return s.p.batch * planes_read * rows * s.from.size[3]
end

---- windows of blocks, for backward weights ---------------------------------------------------------------------------

-- What a block of rows of outputs reads of a group: its axis along d, its rows as a band, and bytes of it.
function window.block(p)
  local axis, rows, size = gather.forward_axis(p, 1)[1], reduce.block_size(p), parts.size_of(p)
  local band = { window = planes.window(gather.forward_axis(p, 2), rows) }
  local pixels = planes.window({ axis }, 1).count * band.window.count * p.input[3]
  return { axis = axis, band = band, pixels = pixels, bytes = parts.round_up(pixels * (p.ic // p.groups) * size, 64) }
end

-- The builder with a window of blocks as what it reads.
function window.of_blocks(b)
  local source, block = view.src(b.p), window.block(b.p)
  local from = view.moved(source, "scratch", source.channels)
  from.d = block.band.window.count * from.h
  return setmetatable({ source = source, from = from, axis = block.axis, band = block.band }, { __index = b })
end

-- Why backward weights cannot be with windows, or nil: rows for family.first.
function window.block_misfits(p, schedule)
  local bytes = window.block(p).bytes
  return { { p.groups == 1, "a window is of channels-last data of several groups" },
    { schedule.copies, "pixels are moved together once" },
    { schedule.across, "across is for pixels that are read where they are" },
    { p.output[3] > reduce.block, "a window is of whole rows, of at most %d pixels", reduce.block },
    { bytes > planes.most_scratch, "needs %d bytes of scratch a thread, at most %d", bytes, planes.most_scratch } }
end

---- what a task does --------------------------------------------------------------------------------------------------

-- The kernel that moves rows of so many channels.
function window.kernel(s, channels)
  local from, source = s.from, s.source
  return s:kernel("window " .. channels, "window", function(o)
    return relayout.copy({ from = from.base, to = "window", elements = channels,
      about = "Moves together what a task reads of some groups' channels, rows of pixels.",
      loops = { { count = "rows", steps = { source.h, from.h }, names = { "x", "y" } },
        { count = from.size[3], steps = { source.w, from.w } } } }, o)
  end)
end

-- Moves a band's window; answers where it begins: {plane, row}. at: n, jd, first (row), the axis along d, and channel,
-- the first that is read.
function window.read(s, d, at, band, kernel)
  local source, depth = s.source, planes.window({ at.axis }, 1)
  local low = { plane = d:let("low_plane", planes.begin(depth, at.jd)),
    row = d:let("low_row", planes.begin(band.window, at.first)) }
  if band.window.count * depth.count == 0 then return low end
  d:comment "The rows of the input that this task needs, its channels alone."
  d:loop("plane", 0, depth.count, 1, function(plane)
    d:call(kernel, { { d[source.base], (at.n * source.size[1] + low.plane + plane) * source.d + low.row * source.h
      + at.reads }, { d.scratch, plane * s.from.d }, band.window.count })
  end)
  return low
end

return window
