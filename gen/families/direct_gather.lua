-- direct_gather.lua: the part of the direct family for forward and backward data: shapes, packing, and stages.
--
-- Of channels-first data a task lays a band of rows out as pixels before, and its outputs as planes at the end
-- (rewrite/planes.lua). A tile is in direct_tile.lua.
local build = require "build"
local driver = require "driver"
local gather = require "gather"
local parts = require "parts"
local relayout = require "relayout"
local cut = require "tiles"
local flatten = require "rewrite/flatten"
local gathered = require "rewrite/gather"
local planes = require "rewrite/planes"
local tile = require "families/direct_tile"
local direct_gather = { contiguous = tile.contiguous, each_phase = tile.each_phase, empty = tile.empty,
  copied_bytes = gathered.all_bytes }

---- the shape of a gathering problem --------------------------------------------------------------------------------

-- A product's pixels are one long row, cut where it divides evenly; channels-first, those of an image.
local function flattened(p)
  local images = p.layout == "nchw" and 1 or p.batch
  local pixels = images * p.input[1] * p.input[2] * p.input[3]
  local length = flatten.length(pixels, math.min(pixels, 128), 14, -1)
  if not length and pixels > 4096 then return p end
  return flatten.child(p, images, length or pixels)
end

local function tensor(base, channels, groups, size)
  return { base = base, memory = base, all = channels, pitch = channels, channels = channels // groups, size = size }
end

-- What both gathering passes have in common: `from` is read by broadcast, `to` is written; channels are a group's.
-- Elements between pixels, rows and images are of the memory that the tiles see; tap: taps from one of an axis to the
-- next; bias, residual: whether tiles add them. copied: the input's pixels are moved together before.
function direct_gather.shape(problem, copied)
  local p = copied and gathered.child(problem) or problem
  if flatten.applies(p) then p = flattened(p) end
  local forward, kernel = p.pass == "forward", p.kernel
  local src, dst = tensor("src", p.ic, p.groups, p.input), tensor("dst", p.oc, p.groups, p.output)
  if copied then src.memory, src.pitch = "shared", gathered.pitch(p) end
  local s = { p = p, size = parts.size_of(p), axes = gather.axes(p), taps = kernel[1] * kernel[2] * kernel[3],
    tap = { kernel[2] * kernel[3], kernel[3], 1 }, from = forward and src or dst, to = forward and dst or src,
    bias = forward and p.bias, residual = forward and p.epilogue.residual }
  for _, t in ipairs { src, dst } do
    t.row = t.size[3] * t.pitch
    t.image = t.size[2] * t.row
  end
  if p.layout == "nchw" then planes.shape(s) end
  return s
end

---- packing ---------------------------------------------------------------------------------------------------------

-- Elements of all panels, and where that of the column tile `index` of group g begins.
local function panel_layout(s, lanes, width)
  local rows = s.taps * s.from.channels
  local group = parts.round_up(s.to.channels, lanes) * rows
  return { elements = s.p.groups * group, at = function(g, index) return g * group + index * (width * rows) end }
end

-- How the panel of a column tile is made, see relayout.lua; rows: those that its kernel is told.
local function packing(s, column, o)
  local p, forward, icg, ocg = s.p, s.p.pass == "forward", s.p.ic // s.p.groups, s.p.oc // s.p.groups
  if s.planes and not forward and s.taps == 1 then
    return { kernel = relayout.panel(column, icg, o), count = 1, rows = ocg, to = 0,
      from = function(g, c) return g * (ocg * icg) + c end }
  end
  local how = relayout.packing(p, { channels = column.channels, width = column.width, loose = true,
    straight = function() return relayout.panel(column, p.oc, o) end,
    turned = function() return relayout.turned_panel(column, p, o) end }, o)
  how.rows = not s.planes and forward and icg * s.taps or nil
  return how
end

local function pack_part(b, run)
  local how = packing(b.s, run.tile, b:named "pack")
  b:add(how.kernel)
  local function body(d, g, tile_number, i)
    local index = tile_number + run.index
    d:call(how.kernel, { { d.weights, how.from(g, index * b.width, i) },
      { d.packed, b.panels.at(g, index) + i * how.to }, how.rows })
  end
  return { body = body, indices = { { "g", b.s.p.groups }, { "tile", run.count },
    { b.s.planes and "part" or "tap", how.count } } }
end

---- tiles that read and write tensors where they are ----------------------------------------------------------------

-- One phase and one run of equal column tiles: tasks over group, tile, image, plane and block of rows; with `across`
-- the tile last.
local function compute_part(b, axes, run)
  local s, axis, from, to = b.s, axes[1], b.s.from, b.s.to
  local tiles, rows = tile.tiles(b, axes, run), math.min(b.schedule.rows, axes[2].outputs)
  local function body(d, g, number, n, jd, block)
    local first = d:let("first", (number + run.index) * b.width)
    local at = { channel = g * to.channels + first, panel = d:let("panel", b.panels.at(g, number + run.index)) }
    at.plane, at.planes = gather.tap_range(d, axis, jd, "plane")
    function at.input(row)
      local plane = n * from.size[1] + jd * axis.step + axis.offset + at.plane * axis.tap_step
      return plane * from.image + row * from.row + g * from.channels
    end
    function at.output(row)
      local plane = n * to.size[1] + jd * axis.stride + axis.start
      return plane * to.image + row * to.row + g * to.channels + first
    end
    tile.rows(b, d, tiles, at, block * rows, driver.min(block * rows + rows, axes[2].outputs))
  end
  local indices = { { "g", s.p.groups }, { "tile", run.count }, { "n", s.p.batch }, { "jd", axis.outputs },
    { "block", (axes[2].outputs + rows - 1) // rows } }
  if not b.schedule.across then return { body = body, indices = indices } end
  table.insert(indices, table.remove(indices, 2))
  return { body = function(d, g, n, jd, block, number) body(d, g, number, n, jd, block) end, indices = indices }
end

-- A phase without taps: pixel by pixel, all channels side by side.
local function zero_part(b, axes)
  local to, kernel = b.s.to, tile.zero_kernel(b, axes[3])
  local function body(d, n, jd, j)
    d:call(kernel, { { d[to.base], (n * to.size[1] + jd * axes[1].stride + axes[1].start) * to.image +
      (j * axes[2].stride + axes[2].start) * to.row + axes[3].start * to.pitch } })
  end
  return { body = body, indices = { { "n", b.s.p.batch }, { "jd", axes[1].outputs }, { "j", axes[2].outputs } } }
end

-- The one phase that something contributes to, among others with as many outputs on each axis, and how far theirs are
-- from its own: its tiles write their zeros (axes.zeros). nil when it is not so.
local function with_zeros(s)
  local fed, empty, zeros = {}, {}, {}
  for _, axes in ipairs(s.axes) do
    if axes[1].outputs ~= axes[#axes].outputs then return nil end -- the first phase has most, the last one fewest
  end
  tile.each_phase(s, function(axes) table.insert(tile.empty(axes) and empty or fed, axes) end)
  if #fed ~= 1 or #empty == 0 or #empty >= 8 then return nil end
  local sole = fed[1]
  for i, axes in ipairs(empty) do
    local function apart(k) return axes[k].start - sole[k].start end
    zeros[i] = apart(1) * s.to.image + apart(2) * s.to.row + apart(3) * s.to.pitch
  end
  sole.zeros = zeros
  return sole
end

local function in_place(b)
  local list, sole = {}, b.schedule.across and with_zeros(b.s)
  local function each(empty, visit)
    tile.each_phase(b.s, function(axes)
      if tile.empty(axes) == empty then list[#list + 1] = visit(axes) end
    end)
  end
  if not sole then each(true, function(axes) return zero_part(b, axes) end) end
  for _, run in ipairs(b.runs) do each(false, function(axes) return compute_part(b, sole or axes, run) end) end
  return list
end

---- tiles of channels-first data, which a task lays out ------------------------------------------------------------

-- Where the rows of the band are in the scratch.
local function place(b, at, low)
  local s, axis = b.s, at.axis
  function at.input(row)
    return (at.jd * axis.step + axis.offset + at.plane * axis.tap_step - low.plane) * s.from.image +
      (row - low.row) * s.from.row
  end
  function at.output(row) return (row - at.first * s.axes[2][1].stride) * s.to.row + s.planes.out end
end

local function clear(b, d, at, zeros, last)
  for _, zero in ipairs(zeros) do
    local axes = zero.axes
    d:loop("j", at.first, last(axes[2]), 1, function(j)
      local row = at.output(j * axes[2].stride + axes[2].start)
      d:call(zero.kernel, { { d.scratch, row + axes[3].start * b.s.to.pitch } })
    end)
  end
end

-- The column tiles of the share `split`, a run of equal ones after the other.
local function compute(b, d, at, split, visit)
  local share = (b.runs.all + b.s.planes.splits - 1) // b.s.planes.splits
  for i, run in ipairs(b.runs) do
    local from, to = driver.max(split * share, run.index), driver.min(split * share + share, run.index + run.count)
    d:loop("tile", from, to, 1, function(number)
      at.panel = d:let("panel", b.panels.at(at.g, number))
      at.channel = d:let("channel", at.g * b.s.to.channels + number * b.width)
      visit(i)
    end)
  end
end

-- For each phase along d: {zeros: phases without taps, {axes, kernel} each; tiles: of the others, by runs of column
-- tiles}. Those without taps stay zero while column tiles pass.
local function phases_of(b)
  local of = {}
  for _, axis in ipairs(b.s.axes[1]) do
    of[axis] = { zeros = {}, tiles = {} }
    for i in ipairs(b.runs) do of[axis].tiles[i] = {} end
  end
  tile.each_phase(b.s, function(axes)
    local here = of[axes[1]]
    if tile.empty(axes) then return table.insert(here.zeros, { axes = axes, kernel = tile.zero_kernel(b, axes[3]) }) end
    for i, run in ipairs(b.runs) do table.insert(here.tiles[i], tile.tiles(b, axes, run)) end
  end)
  return of
end

-- Tasks over group, image, plane, band of equal size and share of the column tiles. A task computes all phases of its
-- rows.
local function band_part(b, axis, phases, band)
  local s = b.s
  local function body(d, g, n, jd, number, split)
    local at = { g = g, n = n, jd = jd, axis = axis, first = d:let("first", number * band.size + band.first) }
    local function last(h_axis) return driver.min(at.first + band.size, h_axis.outputs) end
    at.plane, at.planes = gather.tap_range(d, axis, jd, "plane")
    place(b, at, planes.read(b, d, at, band))
    clear(b, d, at, phases.zeros, last)
    local writes = {}
    for i, run in ipairs(b.runs) do writes[i] = planes.writers(b, band, run.tile) end
    compute(b, d, at, split, function(i)
      for _, tiles in ipairs(phases.tiles[i]) do tile.rows(b, d, tiles, at, at.first, last(tiles.axes[2])) end
      planes.write(b, d, at, writes[i])
    end)
  end
  return { what = ("bands of %d rows"):format(band.results), body = body, indices = { { "g", s.p.groups },
    { "n", s.p.batch }, { "jd", axis.outputs }, { "band", band.count }, { "split", s.planes.splits } } }
end

local function in_bands(b)
  local list, of = {}, phases_of(b)
  for _, axis in ipairs(b.s.axes[1]) do
    for _, band in ipairs(b.s.planes.bands) do list[#list + 1] = band_part(b, axis, of[axis], band) end
  end
  return list
end

---- stages ----------------------------------------------------------------------------------------------------------

-- Tiles of output channels of a schedule.
function direct_gather.columns(s, schedule, target)
  return cut.columns(s.to.channels, schedule.vectors, parts.lanes_of(s.p, target))
end

-- Kernels and stages of a schedule; see families in convgen.lua.
function direct_gather.stages(p, schedule, target)
  local s, lanes = direct_gather.shape(p, schedule.copies), parts.lanes_of(p, target)
  local columns = direct_gather.columns(s, schedule, target)
  local b = build.new(p, target, { s = s, schedule = schedule, runs = columns,
    width = columns[1].tile.width, panels = panel_layout(s, lanes, columns[1].tile.width) })
  local pack = {}
  for i, run in ipairs(b.runs) do pack[i] = pack_part(b, run) end
  if s.planes then planes.plan(s, schedule, b.width) end
  local list = (s.planes and in_bands or in_place)(b)
  local stages = { driver.stage { name = "pack", pack = true, parts = pack },
    driver.stage { name = "compute", parts = list, scratch = s.planes and s.planes.scratch } }
  if schedule.copies then table.insert(stages, 2, gathered.stage(b)) end
  return { kernels = b.kernels, stages = stages, packed = b.panels.elements * s.size,
    shared = schedule.copies and gathered.all_bytes(p) or 0 }
end

return direct_gather
