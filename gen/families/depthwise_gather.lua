-- depthwise_gather.lua: the part of the depthwise family for forward and backward data: a tile of output rows and pixels of one
-- vector of channels, each input vector loaded once and used by every output that its taps reach.
--
-- Forward with a channel multiplier the lanes are output channels, and each input channel is spread over those of it. Backward
-- data then sums over them, in order within each tap: a task lays out one vector's image and weights by the multiplier's members,
-- [pixel][member][lane], and each member is as a further tap. Otherwise tensors and weights are read where they are, and one call
-- makes a row of tiles for all whole vectors of channels.
-- Along h and w each output's taps are known when the kernel is written, so a strided backward pass needs no phases: its tile is
-- as wide as the stride or a multiple.
local program = require "program"
local driver = require "driver"
local gather = require "gather"
local parts = require "parts"
local cut = require "tiles"
local relayout = require "relayout"
local depthwise_gather = {}

---- axes: which input positions the taps of an output reach ------------------------------------------------------------------------

-- Forward along axis i; backward weights reaches the same way, from some of the taps.
function depthwise_gather.forward_axis(p, i, first_tap, taps)
  local stride, dilation = p.stride[i], p.dilation[i]
  local offset = (first_tap or 0) * dilation - p.pad[i]
  taps = taps or p.kernel[i]
  return { outputs = p.output[i], inputs = p.input[i], taps = taps, unit = 1, descending = false,
    position = function(j, tap) return j * stride + tap * dilation + offset end,
    span = function(first, last) return first * stride + offset, last * stride + (taps - 1) * dilation + offset end,
    reference = function(j) return j * stride end }
end

local function backward_axis(p, i)
  local stride, dilation, pad, taps = p.stride[i], p.dilation[i], p.pad[i], p.kernel[i]
  return { outputs = p.input[i], inputs = p.output[i], taps = taps, unit = stride, descending = true,
    position = function(x, tap)
      local at = x + pad - tap * dilation
      return at % stride == 0 and at // stride or nil
    end,
    span = function(first, last) return (first + pad - (taps - 1) * dilation) // stride, (last + pad) // stride end,
    reference = function(x) return x // stride end }
end

-- The positions that a tile reaches, in the order that keeps every output's taps ascending, relative to the tile's reference:
-- {at, uses = list of {output, tap}}.
local function positions(axis, first, size)
  local by_position, list = {}, {}
  for m = 0, size - 1 do
    for tap = 0, axis.taps - 1 do
      local x = axis.position(first + m, tap)
      if x and x >= 0 and x < axis.inputs then
        if not by_position[x] then
          by_position[x] = { at = x - axis.reference(first), uses = {} }
          list[#list + 1] = by_position[x]
        end
        table.insert(by_position[x].uses, { output = m, tap = tap })
      end
    end
  end
  table.sort(list, function(a, b)
    if axis.descending then return a.at > b.at end
    return a.at < b.at
  end)
  return list
end

local function positions_key(list)
  local words = {}
  for i, position in ipairs(list) do
    words[i] = position.at .. ":"
    for _, use in ipairs(position.uses) do words[i] = words[i] .. use.output .. "," .. use.tap .. ";" end
  end
  return table.concat(words, " ")
end

local function count_uses(list)
  local n = 0
  for _, position in ipairs(list) do n = n + #position.uses end
  return n
end

-- A tile's pattern: {size, positions, uses}; tiles whose taps are all inside share one without being looked at.
local function variant_of(axis, first, size, known)
  local low, high = axis.span(first, first + size - 1)
  local inside = low >= 0 and high < axis.inputs and "inside " .. size or nil
  if inside and known[inside] then return known[inside] end
  local list = positions(axis, first, size)
  local key = size .. " " .. positions_key(list)
  local variant = known[key] or { size = size, positions = list, uses = count_uses(list), key = key }
  known[key] = variant
  if inside then known[inside] = variant end
  return variant
end

-- The first i of 0 .. n-1 that passes a test which all later ones pass too; n when none does.
local function first_that(n, test)
  local low, high = 0, n
  while low < high do
    local middle = (low + high) // 2
    if test(middle) then high = middle else low = middle + 1 end
  end
  return low
end

-- The whole units [low, high) of outputs from `from` on whose taps are all inside.
local function inner_units(axis, from, units)
  local function at(i) return axis.span(from + i * axis.unit, from + (i + 1) * axis.unit - 1) end
  return first_that(units, function(i) return at(i) >= 0 end), first_that(units, function(i) return select(2, at(i)) >= axis.inputs end)
end

-- Outputs [from, to) of an axis as runs of equal tiles of at most `most`: {variant, first, count}.
function depthwise_gather.runs(axis, most, from, to, known)
  from, to, known = from or 0, to or axis.outputs, known or {}
  local runs, unit = {}, axis.unit
  local low, high = inner_units(axis, from, (to - from) // unit)
  for _, piece in ipairs(cut.pieces_about((to - from + unit - 1) // unit, math.max(1, most // unit), low, high)) do
    local first = from + piece.first * unit
    local variant = variant_of(axis, first, math.min(piece.size * unit, to - first), known)
    local run = runs[#runs]
    if run and run.variant == variant then run.count = run.count + piece.count
    else runs[#runs + 1] = { variant = variant, first = first, count = piece.count } end
  end
  return runs
end

function depthwise_gather.variants(runs)
  local list, seen = {}, {}
  for _, run in ipairs(runs) do
    if not seen[run.variant] then list[#list + 1] = run.variant end
    seen[run.variant] = true
  end
  return list
end

---- the shape of a problem ------------------------------------------------------------------------------------------------------------

-- channels: those in the lanes. multiplier: of them for each input channel; members: input channels that each sums over.
-- pixel, tap: elements between the input's pixels, the weights' taps.
function depthwise_gather.shape(p, schedule, target)
  local forward, multiplier, lanes = p.pass == "forward", p.oc // p.ic, parts.lanes_of(p, target)
  local axis = forward and depthwise_gather.forward_axis or backward_axis
  local s = { p = p, forward = forward, channels = forward and p.oc or p.ic, multiplier = forward and multiplier or 1,
    members = forward and 1 or multiplier, lanes = lanes, axes = gather.axes(p), pixels = axis(p, 3),
    from = { base = forward and "src" or "dst", size = forward and p.input or p.output },
    to = { base = forward and "dst" or "src", size = forward and p.output or p.input } }
  s.moves = s.members > 1
  s.pixel = s.moves and s.members * lanes or p.ic
  s.tap = s.moves and s.members * lanes or p.oc
  s.columns = depthwise_gather.runs(s.pixels, schedule.pixels)
  s.column_variants = depthwise_gather.variants(s.columns)
  if schedule.rows then
    s.lines = axis(p, 2)
    s.row_runs = depthwise_gather.runs(s.lines, schedule.rows)
    s.row_variants = depthwise_gather.variants(s.row_runs)
  end
  return s
end

-- One plane of taps, always: the weights then stay in registers for a whole row.
function depthwise_gather.single_plane(s)
  local axis = s.axes[1][1]
  return #s.axes[1] == 1 and s.p.kernel[1] == 1 and axis.taps == 1 and gather.always_inside(axis)
end

---- the kernel -------------------------------------------------------------------------------------------------------------------------

-- acc[output row][output pixel] of one tile, from one place of the input: `rows` are positions along h, `columns` along w.
local function taps(k, s, acc, x, from, rows, columns, weight, part)
  local row_pitch, lanes = s.from.size[3] * s.pixel, part.lanes
  local function member(i, row, column)
    local at = k:at(from, row.at * row_pitch + column.at * s.pixel + i * s.lanes)
    local once = #row.uses * #column.uses == 1 and lanes == k.lanes and s.multiplier == 1
    if not once then k:spread(x, at, s.multiplier, part.phase, part.elements) end
    for _, r in ipairs(row.uses) do
      for _, c in ipairs(column.uses) do
        local w = weight(r.tap, c.tap, i)
        k:fma(acc[r.output][c.output], w, once and k:memory(at) or x)
      end
    end
  end
  for _, row in ipairs(rows) do
    for _, column in ipairs(columns) do
      for i = 0, s.members - 1 do member(i, row, column) end
    end
  end
end

-- The taps that positions use, ascending.
local function used_taps(list)
  local used, out = {}, {}
  for _, position in ipairs(list) do
    for _, use in ipairs(position.uses) do used[use.tap] = true end
  end
  for tap in pairs(used) do out[#out + 1] = tap end
  table.sort(out)
  return out
end

local one_row = { { at = 0, uses = { { output = 0, tap = 0 } } } }

-- Tap by tap, for rows of weights that do not fit the registers: each weight is loaded once, the input at every use.
local function streamed_taps(k, s, acc, x, w, from, weights, columns, part)
  local lanes = part.lanes
  local direct = lanes == k.lanes and s.multiplier == 1
  local function member(i, tap)
    k:load(w, k:at(weights, tap * s.tap + i * s.lanes), 0, lanes)
    for _, column in ipairs(columns) do
      for _, use in ipairs(column.uses) do
        if use.tap == tap then
          local at = k:at(from, column.at * s.pixel + i * s.lanes)
          if not direct then k:spread(x, at, s.multiplier, part.phase, part.elements) end
          k:fma(acc[0][use.output], w, direct and k:memory(at) or x)
        end
      end
    end
  end
  for _, tap in ipairs(used_taps(columns)) do
    for i = 0, s.members - 1 do member(i, tap) end
  end
end

-- variant: of the rows, or nil when the rows of taps are a loop. part: of the channels.
local function row_kernel(s, schedule, variant, part, target, name)
  local p, from, to, lanes, blocks = s.p, s.from, s.to, part.lanes, part.blocks
  local k = program.new { name = name, type = p.type, target = target }
  k.about = ("A row of tiles of %d x %d outputs (acc[row][pixel]) of one vector of channels, %s. An input vector is loaded once and used by all "
    .. "outputs that its taps reach; outputs at the borders have only the taps that lie inside."):format(variant and variant.size or 1,
    s.columns[1].variant.size, blocks > 1 and ("for %d vectors one after another"):format(blocks) or lanes < k.lanes and ("%d lanes of it"):format(lanes) or "alone")
  local input, weights = k:pointer(from.base, "in"), k:pointer("weights", "in")
  local bias = s.forward and p.bias and k:pointer("bias", "in")
  local residual = s.forward and p.epilogue.residual and k:pointer("residual", "in")
  local output = k:pointer(to.base, "out")
  local one_plane = depthwise_gather.single_plane(s)
  local planes = not one_plane and k:count("planes")
  local rows = not variant and k:count("rows")
  local in_row, out_row = from.size[3] * s.pixel, to.size[3] * s.channels
  local weights_row = p.kernel[3] * s.tap

  local acc, w, x = {}, {}, k:vector("x")
  for r = 0, (variant and variant.size or 1) - 1 do
    acc[r] = {}
    for m = 0, s.columns[1].variant.size - 1 do acc[r][m] = k:vector(("acc%d_%d"):format(r, m)) end
  end
  local function weight(kh, kw, member)
    local at = (kh * p.kernel[3] + kw) * s.members + member
    w[at] = w[at] or k:vector(("w%d_%d"):format(kh, kw) .. (s.moves and "_" .. member or ""))
    return w[at]
  end
  local function load_weights(at, row_taps, column_taps)
    for _, kh in ipairs(row_taps) do
      for _, kw in ipairs(column_taps) do
        for i = 0, s.members - 1 do
          k:load(weight(kh, kw, i), k:at(at, kh * weights_row + kw * s.tap + i * s.lanes), 0, lanes)
        end
      end
    end
  end
  local held = {} -- the taps of the whole row of tiles
  for kw = 0, p.kernel[3] - 1 do held[kw + 1] = kw end

  local function plane(place, with, columns)
    if variant then
      if not one_plane then load_weights(with, used_taps(variant.positions), used_taps(columns)) end
      return taps(k, s, acc, x, place, variant.positions, columns, weight, part)
    end
    local line, line_weights = k:copy("line", place), k:copy("line_weights", with)
    k:loop(rows, function()
      if schedule.streamed then
        streamed_taps(k, s, acc, x, weight(0, 0, 0), line, line_weights, columns, part)
      else
        load_weights(line_weights, { 0 }, used_taps(columns))
        taps(k, s, acc, x, line, one_row, columns, weight, part)
      end
      k:advance(line, s.row_step * in_row)
      k:advance(line_weights, s.row_tap_stride * weights_row)
    end)
  end

  local function tile(column, place, out, extra)
    local height = variant and variant.size or 1
    for r = 0, height - 1 do
      for m = 0, column.size - 1 do k:zero(acc[r][m]) end
    end
    if one_plane then
      plane(place, weights, column.positions)
    else
      local at, with = k:copy("plane", place), k:copy("plane_weights", weights)
      k:loop(planes, function()
        plane(at, with, column.positions)
        k:advance(at, s.plane_step * from.size[2] * in_row)
        k:advance(with, s.plane_tap_stride * p.kernel[2] * weights_row)
      end)
    end
    for r = 0, height - 1 do
      for m = 0, column.size - 1 do
        local at = r * out_row + m * s.channels
        if s.forward then
          parts.epilogue(k, p, acc[r][m], x, bias and k:at(bias), residual and k:at(extra, at), 0, lanes)
        end
        k:store(k:at(out, at), acc[r][m], 0, lanes)
      end
    end
  end

  local function row()
    if one_plane and variant then load_weights(weights, used_taps(variant.positions), held) end
    for _, run in ipairs(s.columns) do
      local place, out, extra = k:copy("place", input), k:copy("out", output), residual and k:copy("extra", residual)
      local function advance(first, last)
        k:advance(place, (s.pixels.reference(last) - s.pixels.reference(first)) * s.pixel)
        k:advance(out, (last - first) * s.channels)
        if residual then k:advance(extra, (last - first) * s.channels) end
      end
      advance(0, run.first)
      k:loop(run.count, function()
        tile(run.variant, place, out, extra)
        if run.count > 1 then advance(run.first, run.first + run.variant.size) end
      end)
    end
  end
  k:loop(blocks, function()
    row()
    if blocks > 1 then
      k:advance(input, part.step // s.multiplier)
      for _, pointer in ipairs { weights, output, bias or nil } do k:advance(pointer, part.step) end
      if residual then k:advance(residual, part.step) end
    end
  end)
  return k:finish()
end

---- the stage -------------------------------------------------------------------------------------------------------------------------

local function gcd(a, b)
  while b ~= 0 do a, b = b, a % b end
  return a
end

-- How many vectors of `width` output channels it takes until one begins with an input channel as the first one does.
function depthwise_gather.period(width, multiplier) return multiplier // gcd(width, multiplier) end

-- Where the inputs of the output channels from `first` are: {the first one's input channel, its place among that one's outputs}.
function depthwise_gather.source(first, lanes, multiplier)
  local phase = first % multiplier
  return { first = first // multiplier, phase = phase, elements = (phase + lanes - 1) // multiplier + 1 }
end

-- Whole vectors of output channels, those alike together, and what is left: {first, lanes, blocks, step between blocks, and
-- input (the first input channel), phase and elements: see source}.
function depthwise_gather.channel_parts(channels, lanes, multiplier)
  local list, whole, period = {}, channels // lanes, depthwise_gather.period(lanes, multiplier)
  local function add(first, width, blocks)
    local source = depthwise_gather.source(first, width, multiplier)
    list[#list + 1] = { first = first, lanes = width, blocks = blocks, step = period * lanes, input = source.first,
      phase = source.phase, elements = source.elements }
  end
  for i = 0, math.min(period, whole) - 1 do add(i * lanes, lanes, (whole - i + period - 1) // period) end
  if channels % lanes > 0 then add(whole * lanes, channels % lanes, 1) end
  return list
end

-- The rows of tiles of one run of rows (or, with run-time rows, of one phase of rows): their planes and tiles, and a body that
-- calls the kernels of all `list`, parts of the channels. place(part): {input, weights, first output channel}, the former two as
-- {base, offset}; image: the input's, which is 0 for one that moved.
local function rows_of(s, schedule, plane_axis, row_run, row_axis, list, target, kernels)
  local p, from, to, kernel_of = s.p, s.from, s.to, {}
  s.plane_step, s.plane_tap_stride = plane_axis.tap_step, plane_axis.tap_stride
  if row_axis then s.row_step, s.row_tap_stride = row_axis.tap_step, row_axis.tap_stride end
  for i, part in ipairs(list) do
    kernel_of[i] = row_kernel(s, schedule, row_run and row_run.variant, part, target, "rows" .. #kernels)
    kernels[#kernels + 1] = kernel_of[i]
  end
  local in_row, out_row = from.size[3] * s.pixel, to.size[3] * s.channels
  local weights_row = p.kernel[3] * s.tap
  local one_plane = depthwise_gather.single_plane(s)

  local function body(d, image, n, jd, tile, place)
    local plane, planes = gather.tap_range(d, plane_axis, jd, "plane")
    local in_line, out_line, rows
    local with = (plane * plane_axis.tap_stride + plane_axis.first_tap) * (p.kernel[2] * weights_row)
    if row_run then
      local reference = s.lines.reference
      in_line = tile * (reference(row_run.first + row_run.variant.size) - reference(row_run.first)) + reference(row_run.first)
      out_line = tile * row_run.variant.size + row_run.first
    else
      local line
      line, rows = gather.tap_range(d, row_axis, tile, "row")
      in_line = tile * row_axis.step + row_axis.offset + line * row_axis.tap_step
      out_line = tile * row_axis.stride + row_axis.start
      with = with + (line * row_axis.tap_stride + row_axis.first_tap) * weights_row
    end
    with = d:let("with", with)
    local here = d:let("here", (image * from.size[1] + jd * plane_axis.step + plane_axis.offset + plane * plane_axis.tap_step) *
      (from.size[2] * in_row) + in_line * in_row)
    local there = d:let("there", (n * to.size[1] + jd * plane_axis.stride + plane_axis.start) * (to.size[2] * out_row) +
      out_line * out_row)
    for i, part in ipairs(list) do
      local input, weights, first = place(part)
      local args = { { input[1], here + input[2] }, { weights[1], with + weights[2] } }
      if s.forward and p.bias then args[#args + 1] = { d.bias, first } end
      if s.forward and p.epilogue.residual then args[#args + 1] = { d.residual, there + first } end
      args[#args + 1] = { d[to.base], there + first }
      if not one_plane then args[#args + 1] = planes end
      if rows then args[#args + 1] = rows end
      d:call(kernel_of[i], args)
    end
  end
  return { planes = plane_axis.outputs, tiles = row_run and row_run.count or row_axis.outputs, body = body }
end

local function all_rows(s, schedule, list, target, kernels)
  local rows = {}
  for _, plane_axis in ipairs(s.axes[1]) do
    for _, run in ipairs(s.row_runs or {}) do
      rows[#rows + 1] = rows_of(s, schedule, plane_axis, run, nil, list, target, kernels)
    end
    for _, row_axis in ipairs(s.row_runs and {} or s.axes[2]) do
      rows[#rows + 1] = rows_of(s, schedule, plane_axis, nil, row_axis, list, target, kernels)
    end
  end
  return rows
end

-- Tasks over image, plane and row tile; every task makes all channels.
local function in_place(s, schedule, target, kernels)
  local list = {}
  local channels = depthwise_gather.channel_parts(s.channels, s.lanes, s.multiplier)
  for i, rows in ipairs(all_rows(s, schedule, channels, target, kernels)) do
    list[i] = { indices = { { "n", s.p.batch }, { "jd", rows.planes }, { "tile", rows.tiles } }, body = function(d, n, jd, tile)
      rows.body(d, n, n, jd, tile, function(part)
        return { d[s.from.base], part.input }, { d.weights, part.first }, part.first
      end)
    end }
  end
  return { kernels = kernels, stages = { driver.stage { name = "compute", parts = list } }, packed = 0, shared = 0 }
end

---- members as further taps -------------------------------------------------------------------------------------------------------------

-- Whole vectors of channels, and what is left: {first, lanes, count, elements, ...}.
local function vectors_of(s)
  local list, whole, rest = {}, s.channels // s.lanes, s.channels % s.lanes
  local function add(first, lanes, count)
    if count > 0 then list[#list + 1] = { first = first, lanes = lanes, count = count, blocks = 1, phase = 0, elements = lanes } end
  end
  add(0, s.lanes, whole)
  add(whole * s.lanes, rest, rest > 0 and 1 or 0)
  return list
end

-- Parts of the channels that have kernels of their own.
function depthwise_gather.count_parts(s)
  return #(s.moves and vectors_of(s) or depthwise_gather.channel_parts(s.channels, s.lanes, s.multiplier))
end

-- Tasks over image and vector of channels: each lays out its part of the image in scratch, [pixel][member][lane], and the packed
-- weights are so as well.
local function by_members(s, schedule, target, kernels)
  local p, compute, pack = s.p, {}, {}
  local taps, pixels = p.kernel[1] * p.kernel[2] * p.kernel[3], s.from.size[1] * s.from.size[2] * s.from.size[3]
  for i, part in ipairs(vectors_of(s)) do
    local move = relayout.to_rows({ channels = s.members, pixels = part.lanes, pitch = s.members, limit = part.lanes * s.members,
      row = s.lanes, repeats = { from = p.oc, to = s.members * s.lanes } },
      { name = "members" .. i, type = p.type, target = target })
    kernels[#kernels + 1] = move
    local function first_of(v) return v * s.lanes + part.first end
    local function packed_of(v) return (v + part.first // s.lanes) * (taps * s.tap) end
    pack[i] = { indices = { { "v", part.count } }, body = function(d, v)
      d:call(move, { { d.weights, first_of(v) * s.members }, { d.packed, packed_of(v) }, taps })
    end }
    local rows = all_rows(s, schedule, { part }, target, kernels)
    compute[i] = { indices = { { "n", p.batch }, { "v", part.count } }, body = function(d, n, v)
      d:call(move, { { d.dst, n * (pixels * p.oc) + first_of(v) * s.members }, { d.scratch }, pixels })
      local function place() return { d.scratch, 0 }, { d.packed, packed_of(v) }, first_of(v) end
      for _, of in ipairs(rows) do
        d:loop("jd", 0, of.planes, 1, function(jd)
          d:loop("tile", 0, of.tiles, 1, function(tile) of.body(d, driver.expr(0), n, jd, tile, place) end)
        end)
      end
    end }
  end
  local size = parts.size_of(p)
  return { kernels = kernels, packed = parts.round_up(s.channels, s.lanes) * s.members * taps * size, shared = 0,
    stages = { driver.stage { name = "pack", pack = true, parts = pack },
      driver.stage { name = "compute", parts = compute, scratch = pixels * s.pixel * size } } }
end

-- Kernels and stages of a schedule; see families in convgen.lua.
function depthwise_gather.stages(p, schedule, target)
  local s = depthwise_gather.shape(p, schedule, target)
  return (s.moves and by_members or in_place)(s, schedule, target, {})
end

return depthwise_gather
