-- direct_gather.lua: the part of the direct family for forward and backward data: packing and the gathering tiles.
--
-- m runs over output pixels of a row, v over vectors of output channels; the panel of packed weights, [taps][channels][v * lanes],
-- is read once from front to back.
local program = require "program"
local driver = require "driver"
local gather = require "gather"
local parts = require "parts"
local cut = require "tiles"
local copies = require "families/direct_copies"
local direct_gather = {}

---- the shape of a gathering problem ---------------------------------------------------------------------------------------------

-- A 1x1 kernel over everything is a matrix product: one long row of pixels, cut where it divides evenly.
local function flatten(p)
  for i = 1, 3 do
    if p.kernel[i] ~= 1 or p.stride[i] ~= 1 or p.pad[i] ~= 0 or p.input[i] ~= p.output[i] then return p end
  end
  local pixels, length = p.batch * p.input[1] * p.input[2] * p.input[3], nil
  for candidate = math.min(pixels, 128), 14, -1 do
    if pixels % candidate == 0 then length = candidate; break end
  end
  if not length and pixels > 4096 then return p end
  length = length or pixels
  local flat = setmetatable({ batch = 1 }, { __index = p })
  flat.input = { 1, pixels // length, length }
  flat.output = flat.input
  return flat
end

-- Bytes of the pixels that a strided 1x1 reads, or nil and why they are not moved together.
function direct_gather.copied_bytes(p)
  if p.pass ~= "forward" then return nil, "copies inputs forward only" end
  if p.stride[1] * p.stride[2] * p.stride[3] == 1 then return nil, "copies inputs for a stride only" end
  return copies.bytes(p, p.batch * p.output[1] * p.output[2] * p.output[3])
end

-- The problem that is left when they are.
local function moved(p) return setmetatable({ input = p.output, stride = { 1, 1, 1 } }, { __index = p }) end

-- What both gathering passes have in common: `from` is read by broadcast, `to` is written; channels are a group's.
function direct_gather.shape(problem, copied)
  local p = flatten(copied and moved(problem) or problem)
  local forward = p.pass == "forward"
  local ic, oc, icg, ocg = p.ic, p.oc, p.ic // p.groups, p.oc // p.groups
  return {
    p = p, axes = gather.axes(p), taps = p.kernel[1] * p.kernel[2] * p.kernel[3],
    from = { base = copied and "shared" or forward and "src" or "dst", pitch = copied and copies.pitch(p) or forward and ic or oc, channels = forward and icg or ocg,
      size = forward and p.input or p.output },
    to = { base = forward and "dst" or "src", pitch = forward and oc or ic, channels = forward and ocg or icg,
      size = forward and p.output or p.input },
  }
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

-- With `fetch` the panel is fetched early: it comes from far, and whatever fetches ahead on its own stops at the end of a page.
local fetched_ahead = 8192 -- bytes

local function tile_kernel(s, axes, variant, tile, target, name, fetch)
  local p, from, to = s.p, s.from, s.to
  local k = program.new { name = name, type = p.type, target = target }
  k.about = about_tile(axes, variant, tile, to)
  local lanes = k.lanes
  local forward = p.pass == "forward"
  local input, panel = k:pointer(from.base, "in"), k:pointer("panel", "in")
  local bias = forward and p.bias and k:pointer("bias", "in")
  local residual = forward and p.epilogue.residual and k:pointer("residual", "in")
  local output = k:pointer(to.base, "out")
  local planes, rows = k:count("planes"), k:count("rows")
  local axis = axes[3]
  local row_pitch = from.size[3] * from.pitch
  local panel_tap = from.channels * tile.width -- elements of the panel for one tap
  local line = p.type == "f32" and 16 or 8

  local acc, b, a = {}, {}, k:vector("a")
  for m = 0, variant.size - 1 do
    acc[m] = {}
    for v = 0, tile.vectors - 1 do
      acc[m][v] = k:vector(("acc%d_%d"):format(m, v))
      k:zero(acc[m][v])
    end
  end
  for v = 0, tile.vectors - 1 do b[v] = k:vector("w" .. v) end

  local function segment(row, weights, seg)
    local x, w = k:copy("x", row), k:copy("w", weights)
    k:advance(x, seg.tap * axis.tap_step * from.pitch)
    k:advance(w, seg.tap * axis.tap_stride * panel_tap)
    k:loop(seg.taps * from.channels, function()
      for v = 0, tile.vectors - 1 do k:load(b[v], k:at(w, v * lanes)) end
      for i = 0, fetch and tile.width - 1 or -1, line do k:prefetch(k:at(w, fetched_ahead // 64 * line + i), 1) end
      for m = seg.first, seg.last do
        k:broadcast(a, k:at(x, m * axis.step * from.pitch))
        for v = 0, tile.vectors - 1 do k:fma(acc[m][v], b[v], a) end
      end
      k:advance(x, 1)
      k:advance(w, tile.width)
    end)
  end
  k:loop(planes, function()
    local row, weights = k:copy("row", input), k:copy("row_weights", panel)
    k:loop(rows, function()
      for _, seg in ipairs(variant.segments) do segment(row, weights, seg) end
      k:advance(row, axes[2].tap_step * row_pitch)
      k:advance(weights, axes[2].tap_stride * p.kernel[3] * panel_tap)
    end)
    k:advance(input, axes[1].tap_step * from.size[2] * row_pitch)
    k:advance(panel, axes[1].tap_stride * p.kernel[2] * p.kernel[3] * panel_tap)
  end)

  for m = 0, variant.size - 1 do
    for v = 0, tile.vectors - 1 do
      local count = v == tile.vectors - 1 and tile.last or lanes
      local at = m * axis.stride * to.pitch + v * lanes
      if forward then
        parts.epilogue(k, p, acc[m][v], b[v], bias and k:at(bias, v * lanes), residual and k:at(residual, at), 0, count)
      end
      k:store(k:at(output, at), acc[m][v], 0, count)
    end
  end
  return k:finish()
end

---- packing ----------------------------------------------------------------------------------------------------------------------------

-- Forward: rows of a group's output channels are copied; the lanes past the tail become zero.
local function copy_kernel(p, tile, target, name)
  local k = program.new { name = name, type = p.type, target = target }
  k.about = "Copies the columns of weights that one tile uses into a panel, which it then reads from front to back."
  local from, to, rows = k:pointer("weights", "in"), k:pointer("panel", "out"), k:count("rows")
  local r = k:vector("r")
  k:loop(rows, function()
    for v = 0, tile.vectors - 1 do
      k:load(r, k:at(from, v * k.lanes), 0, v == tile.vectors - 1 and tile.last or k.lanes)
      k:store(k:at(to, v * k.lanes), r)
    end
    k:advance(from, p.oc)
    k:advance(to, tile.width)
  end)
  return k:finish()
end

-- Backward data: [input channel][output channel] of one tap becomes [output channel][input channel in lanes], by transposes of
-- the 128-bit parts. The last, ragged group of output channels overlaps the one before; fewer than a group go one by one.
local function transpose_kernel(p, tile, target, name)
  local k = program.new { name = name, type = p.type, target = target }
  k.about = "Turns the weights of one tap into a panel: output channels one after another, input channels in the lanes."
  local from, to = k:pointer("weights", "in"), k:pointer("panel", "out")
  local lanes, group, channels = k.lanes, p.type == "f32" and 4 or 2, p.oc // p.groups
  local r = {}
  for i = 1, group do r[i] = k:vector("r" .. i) end

  local function square(a, b, v)
    local count = v == tile.vectors - 1 and tile.last or lanes
    for i = 1, group do
      k:zero(r[i])
      for part = 0, lanes // group - 1 do
        local row = part * group + i - 1
        if row < count then k:insert(r[i], part, k:at(a, (v * lanes + row) * p.oc)) end
      end
    end
    k:transpose { table.unpack(r) }
    for i = 1, group do k:store(k:at(b, (i - 1) * tile.width + v * lanes), r[i]) end
  end
  local function squares(a, b) for v = 0, tile.vectors - 1 do square(a, b, v) end end

  if channels >= group then
    local a, b = k:copy("a", from), k:copy("b", to)
    k:loop(channels // group, function()
      squares(a, b)
      k:advance(a, group)
      k:advance(b, group * tile.width)
    end)
    if channels % group ~= 0 then
      k:advance(from, channels - group)
      k:advance(to, (channels - group) * tile.width)
      squares(from, to)
    end
  else
    for c = 0, channels - 1 do
      k:zero(r[1])
      for v = 0, tile.vectors - 1 do k:store(k:at(to, c * tile.width + v * lanes), r[1]) end
      for i = 0, (tile.vectors - 1) * lanes + tile.last - 1 do
        k:load(r[1], k:at(from, i * p.oc + c), 0, 1)
        k:store(k:at(to, c * tile.width + i), r[1], 0, 1)
      end
    end
  end
  return k:finish()
end

-- Elements of a panel, and where the panel of tile `index` of group `g` begins.
local function panel_layout(s, tiles)
  local width = tiles[1].width
  local per_group = 0
  for _, tile in ipairs(tiles) do per_group = per_group + tile.width end
  local rows = s.taps * s.from.channels
  return { elements = s.p.groups * per_group * rows,
    at = function(g, index) return g * (per_group * rows) + index * (width * rows) end }
end

local function pack_stage(s, tiles, layout, target, kernels)
  local p = s.p
  local icg, ocg = p.ic // p.groups, p.oc // p.groups
  local list = {}
  for _, run in ipairs(cut.column_runs(tiles)) do
    local forward = p.pass == "forward"
    local kernel = (forward and copy_kernel or transpose_kernel)(p, run.tile, target, "pack" .. #kernels)
    kernels[#kernels + 1] = kernel
    list[#list + 1] = {
      indices = forward and { { "g", p.groups }, { "tile", run.count } } or { { "g", p.groups }, { "tile", run.count }, { "tap", s.taps } },
      body = function(d, g, tile, tap)
        local first = (tile + run.index) * tiles[1].width
        if forward then
          return d:call(kernel, { { d.weights, g * ocg + first }, { d.packed, layout.at(g, tile + run.index) }, icg * s.taps })
        end
        d:call(kernel, { { d.weights, tap * (icg * p.oc) + first * p.oc + g * ocg },
          { d.packed, layout.at(g, tile + run.index) + tap * (ocg * run.tile.width) } })
      end }
  end
  return driver.stage { name = "pack", pack = true, parts = list }
end

---- the gathering stages ---------------------------------------------------------------------------------------------------------------

-- One phase and one run of equal column tiles: tasks over group, tile, image, plane and block of rows.
local function compute_part(s, schedule, axes, run, tiles, layout, target, kernels)
  local p, from, to = s.p, s.from, s.to
  local runs, variants = cut.row_runs(axes[3], schedule.pixels, direct_gather.contiguous(s, axes[3]))
  local kernel_of = {}
  for _, variant in ipairs(variants) do
    local kernel = tile_kernel(s, axes, variant, run.tile, target, ("tile%d"):format(#kernels), schedule.fetch)
    kernels[#kernels + 1], kernel_of[variant] = kernel, kernel
  end
  local rows = math.min(schedule.rows, axes[2].outputs)
  local row_pitch = from.size[3] * from.pitch
  local out_row = to.size[3] * to.pitch

  local function body(d, g, tile, n, jd, block)
    local first = d:let("first", (tile + run.index) * tiles[1].width)
    local panel = d:let("panel", layout.at(g, tile + run.index))
    local plane, planes = gather.tap_range(d, axes[1], jd, "plane")
    local row_end = driver.min(block * rows + rows, axes[2].outputs)
    d:loop("j", block * rows, row_end, 1, function(j)
      local row, count = gather.tap_range(d, axes[2], j, "row")
      local tap_stride = axes[1].tap_stride * p.kernel[2] * p.kernel[3]
      local with = d:let("with", panel + (((plane * tap_stride) + (row * (axes[2].tap_stride * p.kernel[3]))) +
        ((axes[1].first_tap * p.kernel[2] + axes[2].first_tap) * p.kernel[3] + axes[3].first_tap)) * (from.channels * run.tile.width))
      local x = (n * from.size[1] + jd * axes[1].step + axes[1].offset + plane * axes[1].tap_step) * (from.size[2] * row_pitch) +
        (j * axes[2].step + axes[2].offset + row * axes[2].tap_step) * row_pitch + axes[3].offset * from.pitch + g * from.channels
      local here = d:let("here", x)
      local there = d:let("there", (n * to.size[1] + jd * axes[1].stride + axes[1].start) * (to.size[2] * out_row) +
        (j * axes[2].stride + axes[2].start) * out_row + axes[3].start * to.pitch + g * to.channels + first)
      for _, part in ipairs(runs) do
        local variant = part.variant
        d:loop("w", part.first, part.first + part.count * variant.size, variant.size, function(w)
          local out = there + w * (axes[3].stride * to.pitch)
          local args = { { d[from.base], here + w * (axes[3].step * from.pitch) }, { d.packed, with } }
          if p.pass == "forward" and p.bias then args[#args + 1] = { d.bias, g * to.channels + first } end
          if p.pass == "forward" and p.epilogue.residual then args[#args + 1] = { d.residual, out } end
          args[#args + 1] = { d[to.base], out }
          args[#args + 1], args[#args + 2] = planes, count
          d:call(kernel_of[variant], args)
        end)
      end
    end)
  end
  return { body = body, indices = { { "g", p.groups }, { "tile", run.count }, { "n", p.batch }, { "jd", axes[1].outputs },
    { "block", (axes[2].outputs + rows - 1) // rows } } }
end

-- A row of output pixels a task.
local function copy_stage(p, target, kernels)
  local kernel = copies.kernel(p, target, "copy")
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
  local row = to.size[3] * to.pitch
  return { indices = { { "n", s.p.batch }, { "jd", axes[1].outputs }, { "j", axes[2].outputs } }, body = function(d, n, jd, j)
    d:call(kernel, { { d[to.base], (n * to.size[1] + jd * axes[1].stride + axes[1].start) * (to.size[2] * row) +
      (j * axes[2].stride + axes[2].start) * row + axes[3].start * to.pitch } })
  end }
end

function direct_gather.each_phase(s, visit)
  for _, d in ipairs(s.axes[1]) do
    for _, h in ipairs(s.axes[2]) do
      for _, w in ipairs(s.axes[3]) do visit { d, h, w } end
    end
  end
end

-- Kernels and stages of a schedule; see families in convgen.lua.
function direct_gather.stages(p, schedule, target)
  local s = direct_gather.shape(p, schedule.copies)
  local size = p.type == "f32" and 4 or 8
  local lanes = target.bits // 8 // size
  local tiles = cut.columns(s.to.channels, schedule.vectors, lanes)
  local layout, kernels, list = panel_layout(s, tiles), {}, {}
  local pack = pack_stage(s, tiles, layout, target, kernels)
  direct_gather.each_phase(s, function(axes)
    if direct_gather.empty(axes) then list[#list + 1] = zero_part(s, axes, target, kernels) end
  end)
  for _, run in ipairs(cut.column_runs(tiles)) do
    direct_gather.each_phase(s, function(axes)
      if not direct_gather.empty(axes) then
        list[#list + 1] = compute_part(s, schedule, axes, run, tiles, layout, target, kernels)
      end
    end)
  end
  local stages = { pack, driver.stage { name = "compute", parts = list } }
  if schedule.copies then table.insert(stages, 2, copy_stage(p, target, kernels)) end
  return { kernels = kernels, stages = stages, packed = layout.elements * size,
    shared = schedule.copies and direct_gather.copied_bytes(p) or 0 }
end

direct_gather.transpose_kernel = transpose_kernel

return direct_gather
