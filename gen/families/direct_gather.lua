-- direct_gather.lua: the part of the direct family for forward and backward data: packing and the gathering tiles.
--
-- Of channels-first data a task lays a band of rows out as pixels before, and its outputs as planes at the end (direct_planes.lua).
-- m runs over output pixels of a row, v over vectors of output channels; the panel of packed weights, [taps][channels][v * lanes],
-- is read once from front to back.
local program = require "program"
local driver = require "driver"
local gather = require "gather"
local parts = require "parts"
local cut = require "tiles"
local tile = require "tile"
local planes = require "families/direct_planes"
local relayout = require "relayout"
local copies = require "families/direct_copies"
local direct_gather = {}

---- the shape of a gathering problem ---------------------------------------------------------------------------------------------

-- A 1x1 kernel over everything is a matrix product: one long row of pixels, cut where it divides evenly; channels-first, of an image.
local function flatten(p)
  for i = 1, 3 do
    if p.kernel[i] ~= 1 or p.stride[i] ~= 1 or p.pad[i] ~= 0 or p.input[i] ~= p.output[i] then return p end
  end
  local images = p.layout == "nchw" and 1 or p.batch
  local pixels, length = images * p.input[1] * p.input[2] * p.input[3], nil
  for candidate = math.min(pixels, 128), 14, -1 do
    if pixels % candidate == 0 then length = candidate; break end
  end
  if not length and pixels > 4096 then return p end
  length = length or pixels
  local flat = setmetatable({ batch = p.batch // images }, { __index = p })
  flat.input = { 1, pixels // length, length }
  flat.output = flat.input
  return flat
end

-- Bytes of the pixels that a strided 1x1 reads, or nil and why they are not moved.
function direct_gather.copied_bytes(p)
  if p.pass ~= "forward" then return nil, "copies inputs forward only" end
  if p.layout == "nchw" then return nil, "channels-first pixels are laid out anyway" end
  if p.stride[1] * p.stride[2] * p.stride[3] == 1 then return nil, "copies inputs for a stride only" end
  return copies.bytes(p, p.batch * p.output[1] * p.output[2] * p.output[3])
end

-- The problem that is left when they are.
local function moved(p) return setmetatable({ input = p.output, stride = { 1, 1, 1 } }, { __index = p }) end

-- What both gathering passes have in common: `from` is read by broadcast, `to` is written; channels are a group's. Elements between
-- pixels, rows and images are of the memory that the tiles see. copied: the input's pixels are moved together before.
function direct_gather.shape(problem, copied)
  local p = flatten(copied and moved(problem) or problem)
  local forward = p.pass == "forward"
  local ic, oc, icg, ocg = p.ic, p.oc, p.ic // p.groups, p.oc // p.groups
  local src = { base = "src", memory = copied and "shared" or "src", all = ic, pitch = copied and copies.pitch(p) or ic, channels = icg,
    size = p.input }
  local dst = { base = "dst", memory = "dst", all = oc, pitch = oc, channels = ocg, size = p.output }
  local s = { p = p, size = parts.size_of(p), axes = gather.axes(p), taps = p.kernel[1] * p.kernel[2] * p.kernel[3],
    from = forward and src or dst, to = forward and dst or src }
  for _, tensor in ipairs { src, dst } do
    tensor.row = tensor.size[3] * tensor.pitch
    tensor.image = tensor.size[2] * tensor.row
  end
  if p.layout == "nchw" then planes.shape(s) end
  return s
end

---- the gathering kernel -------------------------------------------------------------------------------------------------------------

-- Whether taps along w continue in memory where the channels of the tap before end, in the input and in the panel.
function direct_gather.contiguous(s, axis)
  return s.from.pitch == s.from.channels and axis.tap_step == 1 and axis.tap_stride == 1
end

-- For readers of emitted C.
local function about_tile(axes, variant, tile, to)
  local text = ("acc[m][v] += x[m] * w[v] for m = 0..%d, neighbouring pixels of a row of %s, and v = 0..%d, vectors of its channels%s. "
    .. "`planes` and `rows` of taps lie inside the input along d and h; along w all taps do, for all pixels"):format(variant.size - 1, to.base,
    tile.vectors - 1, tile.last < tile.width // tile.vectors and (" (%d lanes of the last)"):format(tile.last) or "")
  local borders = {}
  for _, seg in ipairs(variant.segments) do
    if seg.first > 0 or seg.last < variant.size - 1 then
      borders[#borders + 1] = ("tap%s only for pixels %d..%d"):format(seg.taps == 1 and (" %d"):format(seg.tap) or
        ("s %d..%d"):format(seg.tap, seg.tap + seg.taps - 1), seg.first, seg.last)
    end
  end
  if #borders == 0 then return text .. "." end
  return text .. ", but at this border: " .. table.concat(borders, ", ") .. "; the others would read padding."
end

-- With `fetch` the panel is fetched early: it comes from far, and whatever fetches ahead on its own stops at the end of a page. With
-- `across` so are the pixels of the next block of rows, line by line while this one's are used, and tiles write the zeros beside them.
local fetched_ahead = 8192 -- bytes

-- So many steps of a segment, an input channel of a tap each.
local function steps(s, schedule, width, reach, count)
  local fetch = {}
  for i = 0, schedule.fetch and width - 1 or -1, 64 // s.size do fetch[#fetch + 1] = { "panel", fetched_ahead // s.size + i, 1 } end
  return { loop = count, steps = { { s.from.base, 1 }, { "panel", width } }, { load = reach }, { fetch = fetch }, { multiply = reach } }
end

-- Taps along w, for the pixels that they reach.
local function segment(s, axes, schedule, width, seg)
  local from, axis, line = s.from, axes[3], 64 // s.size
  local reach, count = { m = tile.span(seg.first, seg.last) }, seg.taps * from.channels
  local node = { copies = { { from.base, "x", seg.tap * axis.tap_step * from.pitch },
    { "panel", "w", seg.tap * axis.tap_stride * from.channels * width } } }
  if schedule.across then
    local fetch, next_rows = {}, schedule.rows * axes[2].step * from.row
    for i, m in ipairs(reach.m) do fetch[i] = { from.base, m * axis.step * from.pitch + next_rows, 2 } end
    node[1] = { loop = count // line, { fetch = fetch }, steps(s, schedule, width, reach, line) }
    count = count % line
  end
  table.insert(node, steps(s, schedule, width, reach, count))
  return node
end

-- Taps in row-major order.
local function taps(s, axes, schedule, variant, width)
  local from, kernel, panel_tap = s.from, s.p.kernel, s.from.channels * width
  local row = { loop = "rows", steps = { { from.base, axes[2].tap_step * from.row },
    { "panel", axes[2].tap_stride * kernel[3] * panel_tap } } }
  for i, seg in ipairs(variant.segments) do row[i] = segment(s, axes, schedule, width, seg) end
  return { loop = "planes", copies = { { from.base, "row" }, { "panel", "row_weights" } }, row,
    steps = { { from.base, axes[1].tap_step * from.image }, { "panel", axes[1].tap_stride * kernel[2] * kernel[3] * panel_tap } } }
end

local bare = { epilogue = {} }

local function tile_kernel(s, axes, variant, column, target, name, schedule)
  local p, from, to, lanes = s.p, s.from, s.to, column.width // column.vectors
  local forward = p.pass == "forward"
  local later = s.planes and p.epilogue.residual -- where the outputs are put into planes
  local bias, residual = forward and p.bias, forward and p.epilogue.residual and not later
  return tile.kernel { name = name, type = p.type, target = target, about = about_tile(axes, variant, column, to),
    arguments = { { from.base, "in" }, { "panel", "in" }, bias and { "bias", "in" }, residual and { "residual", "in" },
      { to.base, "out" }, { "planes", "count" }, { "rows", "count" } },
    sizes = { m = variant.size, v = column.vectors }, registers = { "passing", "sums", "held" },
    sums = { pointer = to.base, register = "acc", { "m", axes[3].stride * to.pitch }, { "v", lanes }, last = column.last },
    held = { pointer = "panel", register = "w", { "v", lanes } },
    passing = { pointer = from.base, register = "a", { "m", axes[3].step * from.pitch } },
    ending = { epilogue = later and bare or p, temporary = "held", stream = schedule.stream, residual = residual and "residual",
      bias = bias and { pointer = "bias", { "v", lanes } } },
    body = { { zero = {} }, taps(s, axes, schedule, variant, column.width),
      { finish = forward and { "epilogue", "stored" } or { "stored" } }, { clear = axes.zeros or {} } } }
end

---- packing ----------------------------------------------------------------------------------------------------------------------------

-- Elements of a panel, and where the panel of tile `index` of group `g` begins.
local function panel_layout(s, tiles)
  local width = tiles[1].width
  local per_group = 0
  for _, tile in ipairs(tiles) do per_group = per_group + tile.width end
  local rows = s.taps * s.from.channels
  return { elements = s.p.groups * per_group * rows,
    at = function(g, index) return g * (per_group * rows) + index * (width * rows) end }
end

-- How the panel of a column tile is made: the kernel, how often it runs, and what a run is given.
local function packing(s, tile, target, name)
  local p = s.p
  local icg, ocg, forward = p.ic // p.groups, p.oc // p.groups, p.pass == "forward"
  local o = { name = name, type = p.type, target = target }
  if s.planes and s.taps == 1 and not forward then
    return { kernel = relayout.panel(tile, icg, o), count = 1, rows = ocg, to = 0, from = function(g, c) return g * (ocg * icg) + c end }
  elseif s.planes then
    local how = relayout.weights(p, tile.channels, tile.width, true, o)
    return { kernel = how.kernel, count = how.count, from = function(g, c, i) return how.first(g, c) + i * how.from end, to = how.to }
  elseif forward then
    return { kernel = relayout.panel(tile, p.oc, o), count = 1, rows = icg * s.taps, to = 0,
      from = function(g, c) return g * ocg + c end }
  end
  return { kernel = relayout.turned_panel(tile, p, o), count = s.taps, to = ocg * tile.width,
    from = function(g, c, tap) return tap * (icg * p.oc) + c * p.oc + g * ocg end }
end

local function pack_stage(s, tiles, layout, target, kernels)
  local list = {}
  for _, run in ipairs(cut.column_runs(tiles)) do
    local how = packing(s, run.tile, target, "pack" .. #kernels)
    kernels[#kernels + 1] = how.kernel
    list[#list + 1] = {
      indices = { { "g", s.p.groups }, { "tile", run.count }, { s.planes and "part" or "tap", how.count } },
      body = function(d, g, tile, i)
        d:call(how.kernel, { { d.weights, how.from(g, (tile + run.index) * tiles[1].width, i) },
          { d.packed, layout.at(g, tile + run.index) + i * how.to }, how.rows })
      end }
  end
  return driver.stage { name = "pack", pack = true, parts = list }
end

---- the gathering stages ---------------------------------------------------------------------------------------------------------------

-- The kernels of one phase and one run of equal column tiles: {axes, run, runs of a row, kernel_of}.
local function make_tiles(s, schedule, axes, run, target, kernels)
  local runs, variants = cut.row_runs(axes[3], schedule.pixels, direct_gather.contiguous(s, axes[3]))
  local kernel_of = {}
  for _, variant in ipairs(variants) do
    local kernel = tile_kernel(s, axes, variant, run.tile, target, ("tile%d"):format(#kernels), schedule)
    kernels[#kernels + 1], kernel_of[variant] = kernel, kernel
  end
  return { axes = axes, run = run, runs = runs, kernel_of = kernel_of }
end

-- Rows [first, last) of a phase's outputs. at: the panel, the first output channel, the planes of taps, and input(row, of a plane)
-- and output(row), where the rows of the tiles' memory are.
local function compute_rows(d, s, tiles, at, first, last)
  local p, from, to, axes = s.p, s.from, s.to, tiles.axes
  d:loop("j", first, last, 1, function(j)
    local row, count = gather.tap_range(d, axes[2], j, "row")
    local tap_stride = axes[1].tap_stride * p.kernel[2] * p.kernel[3]
    local with = d:let("with", at.panel + (((at.plane * tap_stride) + (row * (axes[2].tap_stride * p.kernel[3]))) +
      ((axes[1].first_tap * p.kernel[2] + axes[2].first_tap) * p.kernel[3] + axes[3].first_tap)) * (from.channels * tiles.run.tile.width))
    local here = d:let("here", at.input(j * axes[2].step + axes[2].offset + row * axes[2].tap_step) + axes[3].offset * from.pitch)
    local there = d:let("there", at.output(j * axes[2].stride + axes[2].start) + axes[3].start * to.pitch)
    for _, part in ipairs(tiles.runs) do
      local variant = part.variant
      d:loop("w", part.first, part.first + part.count * variant.size, variant.size, function(w)
        local out = there + w * (axes[3].stride * to.pitch)
        local args = { { d[from.memory], here + w * (axes[3].step * from.pitch) }, { d.packed, with } }
        if p.pass == "forward" and p.bias then args[#args + 1] = { d.bias, at.channel } end
        if p.pass == "forward" and p.epilogue.residual and not s.planes then args[#args + 1] = { d.residual, out } end
        args[#args + 1] = { d[to.memory], out }
        args[#args + 1], args[#args + 2] = at.planes, count
        d:call(tiles.kernel_of[variant], args)
      end)
    end
  end)
end

-- One phase and one run of equal column tiles: tasks over group, tile, image, plane and block of rows; with `across` the tile last.
local function compute_part(s, schedule, axes, run, width, layout, target, kernels)
  local p, from, to = s.p, s.from, s.to
  local tiles = make_tiles(s, schedule, axes, run, target, kernels)
  local rows = math.min(schedule.rows, axes[2].outputs)

  local function body(d, g, tile, n, jd, block)
    local first = d:let("first", (tile + run.index) * width)
    local at = { channel = g * to.channels + first, panel = d:let("panel", layout.at(g, tile + run.index)) }
    at.plane, at.planes = gather.tap_range(d, axes[1], jd, "plane")
    function at.input(row)
      return (n * from.size[1] + jd * axes[1].step + axes[1].offset + at.plane * axes[1].tap_step) * from.image + row * from.row +
        g * from.channels
    end
    function at.output(row)
      return (n * to.size[1] + jd * axes[1].stride + axes[1].start) * to.image + row * to.row + g * to.channels + first
    end
    compute_rows(d, s, tiles, at, block * rows, driver.min(block * rows + rows, axes[2].outputs))
  end
  local indices = { { "g", p.groups }, { "tile", run.count }, { "n", p.batch }, { "jd", axes[1].outputs },
    { "block", (axes[2].outputs + rows - 1) // rows } }
  if not schedule.across then return { body = body, indices = indices } end
  table.insert(indices, table.remove(indices, 2))
  return { body = function(d, g, n, jd, block, tile) body(d, g, tile, n, jd, block) end, indices = indices }
end

-- A row of output pixels a task.
local function copy_stage(p, target, kernels)
  local kernel = relayout.copy(copies.view(p), { name = "copy", type = p.type, target = target })
  kernels[#kernels + 1] = kernel
  local row, rows = p.input[3] * p.ic, p.output[2]
  return driver.stage { name = "copy", parts = { { indices = { { "n", p.batch }, { "od", p.output[1] }, { "row", rows } },
    body = function(d, n, od, at)
      d:call(kernel, { { d.src, (n * p.input[1] + od * p.stride[1]) * (p.input[2] * row) + at * (p.stride[2] * row) },
        { d.shared, ((n * p.output[1] + od) * rows + at) * (p.output[3] * copies.pitch(p)) }, 1, p.output[3] })
    end } } }
end

-- Whether nothing contributes to a phase's outputs: never so forward.
function direct_gather.empty(axes) return axes[1].taps * axes[2].taps * axes[3].taps == 0 end

-- The one phase that something contributes to, among others with as many outputs on each axis, and how far theirs are from its own:
-- its tiles write their zeros (axes.zeros). nil when it is not so.
local function with_zeros(s)
  local sole, fed, zeros = nil, 0, {}
  for i = 1, 3 do
    local axes = s.axes[i]
    if axes[1].outputs ~= axes[#axes].outputs then return nil end -- the first phase has most, the last one fewest
  end
  direct_gather.each_phase(s, function(axes)
    if not direct_gather.empty(axes) then sole, fed = axes, fed + 1 end
  end)
  if fed ~= 1 then return nil end
  direct_gather.each_phase(s, function(axes)
    local function apart(i) return axes[i].start - sole[i].start end
    if direct_gather.empty(axes) then
      zeros[#zeros + 1] = apart(1) * s.to.image + apart(2) * s.to.row + apart(3) * s.to.pitch
    end
  end)
  sole.zeros = zeros
  return #zeros > 0 and #zeros < 8 and sole or nil
end

-- All channels of `pixels` outputs of a row become zero.
local function zero_kernel(s, axis, target, name)
  local k = program.new { name = name, type = s.p.type, target = target }
  local output, zero = k:pointer("output", "out"), k:vector("zero")
  local whole, rest, wide = s.to.pitch // k.lanes, s.to.pitch % k.lanes, 4
  k:zero(zero)
  k:loop(axis.outputs, function()
    local at = k:copy("at", output)
    k:loop(whole // wide, function()
      for v = 0, wide - 1 do k:store(k:at(at, v * k.lanes), zero) end
      k:advance(at, wide * k.lanes)
    end)
    for v = 0, whole % wide - 1 do k:store(k:at(at, v * k.lanes), zero) end
    if rest > 0 then k:store(k:at(at, whole % wide * k.lanes), zero, 0, rest) end
    k:advance(output, axis.stride * s.to.pitch)
  end)
  return k:finish()
end

-- A phase without taps: pixel by pixel, all channels side by side.
local function zero_part(s, axes, target, kernels)
  local to = s.to
  local kernel = zero_kernel(s, axes[3], target, "zero" .. #kernels)
  kernels[#kernels + 1] = kernel
  return { indices = { { "n", s.p.batch }, { "jd", axes[1].outputs }, { "j", axes[2].outputs } }, body = function(d, n, jd, j)
    d:call(kernel, { { d[to.base], (n * to.size[1] + jd * axes[1].stride + axes[1].start) * to.image +
      (j * axes[2].stride + axes[2].start) * to.row + axes[3].start * to.pitch } })
  end }
end

function direct_gather.each_phase(s, visit)
  for _, d in ipairs(s.axes[1]) do
    for _, h in ipairs(s.axes[2]) do
      for _, w in ipairs(s.axes[3]) do visit { d, h, w } end
    end
  end
end

-- Channels-first data: tasks over group, image, plane, band of equal size and share of the column tiles. A task computes all phases
-- of its rows; those without taps stay zero while column tiles pass.
local function band_part(s, c, d_axis, band)
  local from, to = s.from, s.to
  local share = (#c.tiles + s.planes.splits - 1) // s.planes.splits
  local reads, columns = c.movers.read(band), {}
  for i, run in ipairs(c.runs) do
    columns[i] = { run = run, phases = c.phases[d_axis][i], channels = (run.tile.vectors - 1) * c.lanes + run.tile.last }
    columns[i].writes = c.movers.write(band, columns[i].channels)
  end
  local function body(d, g, n, jd, number, split)
    local at = { g = g, n = n, jd = jd, first = d:let("first", number * band.size + band.first) }
    local function last(axis) return driver.min(at.first + band.size, axis.outputs) end
    at.plane, at.planes = gather.tap_range(d, d_axis, jd, "plane")
    local low = planes.read(s, d, at, d_axis, band, c.movers, reads)
    function at.input(row)
      return (jd * d_axis.step + d_axis.offset + at.plane * d_axis.tap_step - low.plane) * from.image + (row - low.row) * from.row
    end
    function at.output(row) return (row - at.first * s.axes[2][1].stride) * to.row + s.planes.out end
    for _, zero in ipairs(c.zeros[d_axis]) do
      d:loop("j", at.first, last(zero.axes[2]), 1, function(j)
        d:call(zero.kernel, { { d.scratch, at.output(j * zero.axes[2].stride + zero.axes[2].start) + zero.axes[3].start * to.pitch } })
      end)
    end
    for _, column in ipairs(columns) do
      local run = column.run
      d:loop("tile", driver.max(split * share, run.index), driver.min(split * share + share, run.index + run.count), 1, function(tile)
        at.panel, at.channel = d:let("panel", c.layout.at(g, tile)), d:let("channel", g * to.channels + tile * c.tiles[1].width)
        for _, tiles in ipairs(column.phases) do compute_rows(d, s, tiles, at, at.first, last(tiles.axes[2])) end
        planes.write(s, d, at, { d_axis, s.axes[2][1] }, column.writes, at.channel)
      end)
    end
  end
  return { what = ("bands of %d rows"):format(band.results), body = body, indices = { { "g", s.p.groups }, { "n", s.p.batch },
    { "jd", d_axis.outputs }, { "band", band.count }, { "split", s.planes.splits } } }
end

-- The kernels of all phases, then a part for each band.
local function band_parts(s, schedule, tiles, layout, target, kernels)
  local c = { tiles = tiles, layout = layout, lanes = tiles[1].width // tiles[1].vectors, runs = cut.column_runs(tiles), zeros = {}, phases = {} }
  c.movers = planes.movers(s, target, kernels)
  for _, d_axis in ipairs(s.axes[1]) do
    c.zeros[d_axis], c.phases[d_axis] = {}, {}
    for i in ipairs(c.runs) do c.phases[d_axis][i] = {} end
  end
  direct_gather.each_phase(s, function(axes)
    if direct_gather.empty(axes) then
      local kernel = zero_kernel(s, axes[3], target, "zero" .. #kernels)
      kernels[#kernels + 1] = kernel
      table.insert(c.zeros[axes[1]], { axes = axes, kernel = kernel })
      return
    end
    for i, run in ipairs(c.runs) do table.insert(c.phases[axes[1]][i], make_tiles(s, schedule, axes, run, target, kernels)) end
  end)
  local list = {}
  for _, d_axis in ipairs(s.axes[1]) do
    for _, band in ipairs(s.planes.bands) do list[#list + 1] = band_part(s, c, d_axis, band) end
  end
  return list
end

-- Tiles of output channels of a schedule.
function direct_gather.columns(s, schedule, target)
  return cut.columns(s.to.channels, schedule.vectors, parts.lanes_of(s.p, target))
end

-- Kernels and stages of a schedule; see families in convgen.lua.
function direct_gather.stages(p, schedule, target)
  local s = direct_gather.shape(p, schedule.copies)
  local tiles = direct_gather.columns(s, schedule, target)
  local layout, kernels, list = panel_layout(s, tiles), {}, {}
  local pack = pack_stage(s, tiles, layout, target, kernels)
  if s.planes then
    planes.plan(s, schedule, tiles[1].width)
    list = band_parts(s, schedule, tiles, layout, target, kernels)
  else
    local sole = schedule.across and with_zeros(s)
    direct_gather.each_phase(s, function(axes)
      if direct_gather.empty(axes) and not sole then list[#list + 1] = zero_part(s, axes, target, kernels) end
    end)
    for _, run in ipairs(cut.column_runs(tiles)) do
      direct_gather.each_phase(s, function(axes)
        if not direct_gather.empty(axes) then
          list[#list + 1] = compute_part(s, schedule, sole or axes, run, tiles[1].width, layout, target, kernels)
        end
      end)
    end
  end
  local stages = { pack, driver.stage { name = "compute", parts = list, scratch = s.planes and s.planes.scratch } }
  if schedule.copies then table.insert(stages, 2, copy_stage(p, target, kernels)) end
  return { kernels = kernels, stages = stages, packed = layout.elements * s.size,
    shared = schedule.copies and direct_gather.copied_bytes(p) or 0 }
end

return direct_gather
