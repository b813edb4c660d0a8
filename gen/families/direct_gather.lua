-- direct_gather.lua: the part of the direct family for forward and backward data: shapes, packing, and stages.
--
-- Of channels-first data a task lays a band of rows out as pixels before, and its outputs as planes at the end
-- (rewrite/planes.lua). A tile is in direct_tile.lua.
local build = require "build"
local driver = require "driver"
local gather = require "gather"
local parts = require "parts"
local reduce = require "reduce"
local relayout = require "relayout"
local cut = require "tiles"
local view = require "view"
local flatten = require "rewrite/flatten"
local gathered = require "rewrite/gather"
local lanes = require "rewrite/lanes"
local planes = require "rewrite/planes"
local window = require "rewrite/window"
local tile = require "families/direct_tile"
local direct_gather = { copied_bytes = gathered.all_bytes }

---- the shape of a gathering problem --------------------------------------------------------------------------------

-- A product's pixels are one long row, cut where it divides evenly; channels-first, those of an image.
local function flattened(p)
  local images = p.layout == "nchw" and 1 or p.batch
  local pixels = images * p.input[1] * p.input[2] * p.input[3]
  local length = flatten.length(pixels, math.min(pixels, 128), 14, -1)
  if not length and pixels > 4096 then return p end
  return flatten.child(p, images, length or pixels)
end

-- What both gathering passes have in common: `from` is read by broadcast, `to` is written: views of the memory that the
-- tiles see. tap: taps from one of an axis to the next; bias, residual: whether tiles add them. copied: the input's
-- pixels are moved together before.
function direct_gather.shape(problem, copied)
  local p = copied and gathered.child(problem) or problem
  if flatten.applies(p) then p = flattened(p) end
  local s = gather.shape(p)
  s.rows_known, s.tap = {}, { p.kernel[2] * p.kernel[3], p.kernel[3], 1 }
  if copied then s.from = view.moved(s.from, "shared", gathered.pitch(p)) end
  if p.layout == "nchw" then planes.shape(s) end
  return s
end

-- The tiles of a row of an axis, and their variants; made once for all schedules of so many pixels.
function direct_gather.rows_of(s, axis, pixels)
  local key, rows = pixels * #s.axes[3] + axis.start, s.rows_known
  rows[key] = rows[key] or table.pack(cut.row_runs(axis, pixels, tile.contiguous(s, axis)))
  return table.unpack(rows[key])
end

-- The phases of a shape's axes; many are not listed before they are known to be few.
function direct_gather.phases(s)
  s.phases = s.phases or gather.phases(s)
  return s.phases
end

---- packing ---------------------------------------------------------------------------------------------------------

-- Elements of all panels, and where that of the column tile `index` of group g begins.
local function panel_layout(s, runs)
  local rows, group = s.taps * s.from.channels, 0
  for _, run in ipairs(runs) do group = group + run.count * run.tile.width * rows end
  return { elements = s.apart * group, at = function(g, index) return g * group + index * (s.width * rows) end }
end

-- How the panel of a column tile is made, see relayout.lua; rows: those that its kernel is told.
function direct_gather.packing(s, column)
  local p, forward, icg, ocg = s.p, s.forward, s.icg, s.ocg
  local function rows_apart(pitch) return function(o) return relayout.panel(column, pitch, o) end end
  if s.planes and not forward and s.taps == 1 then
    return { make = rows_apart(icg), count = 1, rows = ocg, to = 0,
      from = function(g, c) return g * (ocg * icg) + c end }
  end
  local how = relayout.packing(p, { channels = column.channels, width = column.width, loose = true,
    straight = rows_apart(p.oc), turned = function(o) return relayout.turned_panel(column, p, o) end })
  how.rows = not s.planes and forward and icg * s.taps or nil
  return how
end

-- Backward data with several groups in the lanes: each is turned into its own, and lanes that none has become zero.
local function pack_groups(s, run)
  local p, column, rows = s.p, run.tile, s.ocg * run.tile.vectors
  local alone = { channels = s.icg, width = column.width }
  local kernel = s:new("pack", function(o) return relayout.turned_panel(alone, p, o, true) end)
  local zero = column.channels < column.width and s:new("zero", function(o)
    return reduce.zero_kernel(o, { { at = 0, lanes = s.lanes } }, { step = s.lanes })
  end)
  return { indices = { { "tile", run.count }, { "tap", s.taps } }, body = function(d, number, tap)
    local index = number + run.index
    local to = d:let("to", s.panels.at(0, index) + tap * (s.ocg * column.width))
    if zero then d:call(zero, { { d.packed, to }, rows }) end
    d:loop("g", 0, column.channels // s.icg, 1, function(g)
      local from = tap * (s.icg * p.oc) + (index * s.schedule.groups + g) * s.ocg
      d:call(kernel, { { d.weights, from }, { d.packed, to + g * s.icg } })
    end)
  end }
end

function direct_gather.pack_part(s, run, how)
  if s.schedule.groups and not s.forward then return pack_groups(s, run) end
  local kernel = s:add(how.make(s:named "pack"))
  return { indices = { { "g", s.apart }, { "tile", run.count }, { s.planes and "part" or "tap", how.count } },
    body = function(d, g, number, i)
      local index = number + run.index
      d:call(kernel, { { d.weights, how.from(g, index * s.step, i) },
        { d.packed, s.panels.at(g, index) + i * how.to }, how.rows })
    end }
end

---- tiles that read and write tensors where they are ----------------------------------------------------------------

-- One phase and one run of equal column tiles: tasks over group, tile, image, plane and block of rows; with `across`
-- the tile last.
local function compute_part(s, axes, run)
  local axis, from, to = axes[1], s.from, s.to
  local tiles, rows = tile.tiles(s, axes, run), math.min(s.schedule.rows, axes[2].outputs)
  local function body(d, g, number, n, jd, block)
    local first = d:let("first", (number + run.index) * s.step)
    local at = { channel = g * to.channels + first, panel = d:let("panel", s.panels.at(g, number + run.index)) }
    at.plane, at.planes = gather.tap_range(d, axis, jd, "plane")
    function at.input(row)
      local plane = n * from.size[1] + jd * axis.step + axis.offset + at.plane * axis.tap_step
      local channel = s.schedule.groups and (number + run.index) * s.schedule.groups or g
      return plane * from.d + row * from.h + channel * from.channels
    end
    function at.output(row)
      return (n * to.size[1] + jd * axis.stride + axis.start) * to.d + row * to.h + g * to.channels + first
    end
    tile.rows(s, d, tiles, at, block * rows, driver.min(block * rows + rows, axes[2].outputs))
  end
  local indices = { { "g", s.apart }, { "tile", run.count }, { "n", s.p.batch }, { "jd", axis.outputs },
    { "block", (axes[2].outputs + rows - 1) // rows } }
  if not s.schedule.across then return { body = body, indices = indices } end
  table.insert(indices, table.remove(indices, 2))
  return { body = function(d, g, n, jd, block, number) body(d, g, number, n, jd, block) end, indices = indices }
end

-- A phase without taps: pixel by pixel, all channels side by side.
local function zero_part(s, axes)
  local to, kernel = s.to, tile.zero_kernel(s, axes[3])
  local function body(d, n, jd, j)
    d:call(kernel, { { d[to.base], (n * to.size[1] + jd * axes[1].stride + axes[1].start) * to.d +
      (j * axes[2].stride + axes[2].start) * to.h + axes[3].start * to.w } })
  end
  return { body = body, indices = { { "n", s.p.batch }, { "jd", axes[1].outputs }, { "j", axes[2].outputs } } }
end

-- The one phase that something contributes to, among others with as many outputs on each axis, writes their zeros as
-- well, which are so far from its own outputs (axes.zeros). Answers whether it is so.
local function writes_zeros(s)
  local sole
  for _, axes in ipairs(s.axes) do
    if axes[1].outputs ~= axes[#axes].outputs then return false end -- the first phase has most, the last one fewest
  end
  for _, axes in ipairs(s.phases) do
    if not axes.empty and sole then return false end
    sole = sole or not axes.empty and axes
  end
  if not sole or #s.phases == 1 or #s.phases > 8 or s.residual then return false end
  sole.zeros = {}
  for _, axes in ipairs(s.phases) do
    local function apart(k) return axes[k].start - sole[k].start end
    if axes.empty then table.insert(sole.zeros, apart(1) * s.to.d + apart(2) * s.to.h + apart(3) * s.to.w) end
  end
  return true
end

local function in_place(s)
  local list, phases = {}, direct_gather.phases(s)
  local written = s.schedule.across and writes_zeros(s)
  for _, axes in ipairs(phases) do
    if axes.empty and not written then list[#list + 1] = zero_part(s, axes) end
  end
  for _, run in ipairs(s.runs) do
    for _, axes in ipairs(phases) do
      if not axes.empty then list[#list + 1] = compute_part(s, axes, run) end
    end
  end
  return list
end

---- windows of some groups' channels, which a task moves together -----------------------------------------------------

-- The column tiles of a task: those of its group, or the one of several groups.
local function window_tiles(s, d, at, number, run, visit)
  if s.schedule.groups then
    at.channel, at.panel = d:let("channel", number * s.step), d:let("panel", s.panels.at(0, number))
    return visit(run)
  end
  for _, each in ipairs(s.runs) do
    d:loop("tile", each.index, each.index + each.count, 1, function(index)
      at.channel = d:let("channel", at.g * s.to.channels + index * s.step)
      at.panel = d:let("panel", s.panels.at(at.g, index))
      visit(each)
    end)
  end
end

local function moved_together(s, at, low)
  local axis, to = at.axis, s.to
  function at.input(row)
    return (gather.input_at(axis, at.jd, at.plane) - low.plane) * s.from.d + (row - low.row) * s.from.h
  end
  function at.output(row)
    return (at.n * to.size[1] + at.jd * axis.stride + axis.start) * to.d + row * to.h + at.channel
  end
end

-- Tasks over groups, or tiles of them, image, plane and band. A task computes all phases of its rows.
local function window_part(s, axis, phases, run, band)
  local groups = s.schedule.groups
  local channels = groups and run.tile.channels // s.to.channels * s.from.channels or s.from.channels
  local kernel = window.kernel(s, channels)
  local function body(d, n, jd, i, g)
    local number, at = g + run.index, { g = g, n = n, jd = jd, axis = axis }
    at.first, at.reads = d:let("first", i * band.size + band.first), number * s.from.w
    at.plane, at.planes = gather.tap_range(d, axis, jd, "plane")
    moved_together(s, at, window.read(s, d, at, band, kernel))
    window_tiles(s, d, at, number, run, function(each)
      for _, axes in ipairs(phases) do
        local last = driver.min(at.first + band.size, axes[2].outputs)
        if not axes.empty then tile.rows(s, d, axes.tiles[each], at, at.first, last) end
      end
    end)
  end
  return { body = body, indices = { { "n", s.p.batch }, { "jd", axis.outputs }, { "band", band.count },
    { "g", groups and run.count or s.p.groups } } }
end

local function in_windows(s)
  local list = {}
  for _, axes in ipairs(s.phases) do
    axes.tiles = {}
    for _, run in ipairs(axes.empty and {} or s.runs) do axes.tiles[run] = tile.tiles(s, axes, run) end
    if axes.empty then list[#list + 1] = zero_part(s, axes) end
  end
  for _, axis in ipairs(s.axes[1]) do
    local phases = {}
    for _, axes in ipairs(s.phases) do if axes[1] == axis then phases[#phases + 1] = axes end end
    for _, run in ipairs(s.schedule.groups and s.runs or { { index = 0 } }) do
      for _, band in ipairs(s.bands) do list[#list + 1] = window_part(s, axis, phases, run, band) end
    end
  end
  return list
end

---- tiles of channels-first data, which a task lays out ------------------------------------------------------------

-- Where the rows of the band are in the scratch.
local function place(s, at, low)
  local axis = at.axis
  function at.input(row)
    return (gather.input_at(axis, at.jd, at.plane) - low.plane) * s.from.d + (row - low.row) * s.from.h
  end
  function at.output(row) return (row - at.first * s.axes[2][1].stride) * s.to.h + s.planes.out end
end

-- A phase without taps stays zero while column tiles pass.
local function clear(s, d, at, axes, last)
  d:loop("j", at.first, last(axes[2]), 1, function(j)
    d:call(axes.zero, { { d.scratch, at.output(j * axes[2].stride + axes[2].start) + axes[3].start * s.to.w } })
  end)
end

-- The column tiles of the share `split`, a run of equal ones after the other.
local function compute(s, d, at, split, visit)
  local share = (s.runs.all + s.planes.splits - 1) // s.planes.splits
  for _, run in ipairs(s.runs) do
    local from, to = driver.max(split * share, run.index), driver.min(split * share + share, run.index + run.count)
    d:loop("tile", from, to, 1, function(number)
      at.panel = d:let("panel", s.panels.at(at.g, number))
      at.channel = d:let("channel", at.g * s.to.channels + number * s.width)
      visit(run)
    end)
  end
end

-- Tasks over group, image, plane, band of equal size and share of the column tiles. A task computes all phases of its
-- rows.
local function band_part(s, axis, phases, band)
  local function body(d, g, n, jd, number, split)
    local at = { g = g, n = n, jd = jd, axis = axis, first = d:let("first", number * band.size + band.first) }
    local function last(h_axis) return driver.min(at.first + band.size, h_axis.outputs) end
    at.plane, at.planes = gather.tap_range(d, axis, jd, "plane")
    place(s, at, planes.read(s, d, at, band))
    for _, axes in ipairs(phases) do if axes.empty then clear(s, d, at, axes, last) end end
    local writes = {}
    for _, run in ipairs(s.runs) do writes[run] = planes.writers(s, band, run.tile) end
    compute(s, d, at, split, function(run)
      for _, axes in ipairs(phases) do
        if not axes.empty then tile.rows(s, d, axes.tiles[run], at, at.first, last(axes[2])) end
      end
      planes.write(s, d, at, writes[run])
    end)
  end
  return { what = ("bands of %d rows"):format(band.results), body = body, indices = { { "g", s.p.groups },
    { "n", s.p.batch }, { "jd", axis.outputs }, { "band", band.count }, { "split", s.planes.splits } } }
end

-- The phases with their kernels: of those without taps `zero`, of the others `tiles` for each run of column tiles.
local function with_kernels(s)
  local list = direct_gather.phases(s)
  for _, axes in ipairs(list) do
    axes.zero, axes.tiles = axes.empty and tile.zero_kernel(s, axes[3]), {}
    for _, run in ipairs(axes.empty and {} or s.runs) do axes.tiles[run] = tile.tiles(s, axes, run) end
  end
  return list
end

local function in_bands(s)
  local list, all = {}, with_kernels(s)
  for _, axis in ipairs(s.axes[1]) do
    local phases = {}
    for _, axes in ipairs(all) do if axes[1] == axis then phases[#phases + 1] = axes end end
    for _, band in ipairs(s.planes.bands) do list[#list + 1] = band_part(s, axis, phases, band) end
  end
  return list
end

---- stages ----------------------------------------------------------------------------------------------------------

-- Tiles of output channels of a schedule.
function direct_gather.columns(s, schedule, target)
  if schedule.groups then return lanes.columns(s, schedule.groups, parts.lanes_of(s.p, target)) end
  return cut.runs_of_columns(s.to.channels, schedule.vectors, parts.lanes_of(s.p, target))
end

-- The stages of a schedule, built in a shape of its own, which shares its kernels with the builder of the problem.
function direct_gather.stages(b, shape, schedule)
  local s, runs, pack = build.new(shape.p, b.target, shape), direct_gather.columns(shape, schedule, b.target), {}
  s.schedule, s.runs, s.width, s.kernels = schedule, runs, runs[1].tile.width, b.kernels
  s.apart, s.step = schedule.groups and 1 or s.p.groups, schedule.groups and runs[1].tile.channels or s.width
  s.panels = panel_layout(s, runs)
  for i, run in ipairs(runs) do pack[i] = direct_gather.pack_part(s, run, direct_gather.packing(s, run.tile)) end
  if s.planes then planes.plan(s, schedule, s.width) end
  if schedule.window then window.plan(s, schedule.rows) end
  local compute = (s.planes and in_bands or schedule.window and in_windows or in_place)(s)
  local stages = { driver.stage { name = "pack", pack = true, parts = pack },
    driver.stage { name = "compute", parts = compute, scratch = s.planes and s.planes.scratch or s.scratch } }
  if schedule.copies then table.insert(stages, 2, gathered.stage(b)) end
  return stages, s.panels.elements * s.size, schedule.copies and gathered.all_bytes(b.p)
end

return direct_gather
