-- depthwise.lua: every channel alone (groups = channels), channels in the lanes.
--
-- Forward and backward data are in depthwise_gather.lua, backward weights in depthwise_gradient.lua; here are the names
-- of schedules, the space and its estimate. The canonical order holds. With a channel multiplier the lanes are output
-- channels, and backward data, which sums over those of an input channel, has input channels in the lanes: see
-- depthwise_gather.lua.
local activations, family = require "activations", require "family"
local parts = require "parts"
local cut = require "tiles"
local reduce = require "reduce"
local axes = require "families/depthwise_axis"
local gathering = require "families/depthwise_gather"
local gradient = require "families/depthwise_gradient"
local lane_groups = require "rewrite/lanes"

-- Of the text of all kernels of a schedule: multiply-adds, and runs of rows that a gradient's kernel has arguments for.
local most_operations, most_row_runs, most_parts = 6000, 12, 16

---- schedules ---------------------------------------------------------------------------------------------------------
-- depthwise.r2.p4: tiles of 2 rows and 4 pixels, all weights of a plane in registers. depthwise.row.p12: one row, its
-- taps a loop, a row of weights in registers. depthwise.stream.p12: the same, weights loaded one by one. .moved: what
-- is read is laid out first. .across: in place, each tile through all channels before the next one.
-- depthwise.h3.w3.v2.p4: backward weights, the sums of 3 x 3 taps of 2 vectors of channels in registers, 4 pixels a
-- step. lanes.g4/depthwise.h1.w3.v1.p8: the same of 4 groups of few channels, which share the lanes.

local forms = {
  { { "depthwise", fields = { { "r", "rows" }, { "p", "pixels" } }, marks = { "moved", "across" } } },
  { { "depthwise", fields = { { "row", flag = "row" }, { "p", "pixels" } }, marks = { "moved", "across" } } },
  { { "depthwise", fields = { { "stream", flag = "streamed" }, { "p", "pixels" } }, marks = { "moved", "across" } } },
  { sums = true, lane_groups.node,
    { "depthwise", fields = { { "h", "height" }, { "w", "width" }, { "v", "vectors" }, { "p", "pixels" } },
      marks = { "moved", "across" } } },
}

---- what does not apply or fit ----------------------------------------------------------------------------------------

local function refused(s)
  local p = s.p
  local taps, most = math.max(p.kernel[2], p.kernel[3]), most_operations // 4 -- of the smallest tile, four pixels
  local several = p.groups ~= p.ic
  return family.first {
    { several and p.layout ~= "nhwc" and p.pass == "backward_weights",
      "groups of few channels need channels-last data" },
    { several and (p.groups == 1 or p.pass ~= "backward_weights"),
      "depthwise needs a group for each of the %d channels, not %d", p.ic, p.groups },
    { taps > most, "an axis of %d taps, depthwise takes at most %d", taps, most } }
end

-- The input vector, and one for the mask of ragged channels, where masks take vector registers, or the places to spread
-- from.
local function other_registers(s)
  local ragged = s.channels % s.lanes ~= 0 and not s.target.mask_registers
  return 1 + ((ragged or s.channels ~= s.p.ic) and 1 or 0)
end

local function free_registers(s) return s.target.registers - other_registers(s) end
local function registers(s, beside) return family.registers(beside + other_registers(s), s.target) end

-- Backward weights of groups of several channels.
local function sums_refused(s)
  local pays = s.members == 1
  if not pays then lane_groups.each_tile(s, s.lanes, function() pays = true end) end
  return family.first { { not pays, "groups of %d channels fill their lanes alone", s.ocg } }
end

local function text(operations)
  return { operations > most_operations, "its kernels would have %d multiply-adds, at most %d", operations,
    most_operations }
end

-- Multiply-adds in the text of a gathering schedule's kernels.
local function gathering_text(s)
  local rows = s.rows and s.rows.uses or #s.axes[2]
  return s.columns.uses * rows * #s.axes[1] * s.members * #s.parts
end

local function gradient_text(s, schedule)
  local operations, vectors = 0, 0
  gradient.each_kernel(gradient.rectangles(s, schedule), function(r, columns)
    local rows, extra = 0, r.bias and 1 or 0
    for _, run in ipairs(r.runs) do rows = rows + run.taps + extra end
    operations = operations + rows * (columns.row.uses + #columns.row)
  end)
  for _, part in ipairs(gradient.parts(s, schedule)) do vectors = vectors + part.vectors end
  return operations * vectors * s.members
end

local function gathering_misfit(s, schedule)
  local p, h, w = s.p, s.lines.down, s.pixels.down
  local weights = schedule.streamed and 1 or (schedule.rows and p.kernel[2] or 1) * p.kernel[3] * s.members
  local room = activations.room(p, s.target) -- sums wait while one is finished, weights do not
  local why = family.first {
    { schedule.moved and s.moves, "what is read is laid out anyway" },
    { schedule.across and (s.moves or schedule.moved), "across is for pixels that are read where they are" },
    { schedule.across and s.channels <= s.lanes, "across is for several vectors of channels" },
    { schedule.pixels % w ~= 0 or (schedule.rows or h) % h ~= 0,
      "tiles must be multiples of the strides %d and %d", h, w },
    registers(s, (schedule.rows or 1) * schedule.pixels + weights),
    registers(s, room > 0 and room + weights or 0) }
  if why then return why end
  local tiled = gathering.tiled(s, schedule)
  return family.first {
    { #s.axes[1] * (tiled.rows and #tiled.rows or #s.axes[2]) > most_parts, "needs more than %d parts", most_parts },
    text(gathering_text(tiled)) }
end

-- Beside the sums of groups in the lanes: the pattern, and what that may need.
local function gradient_registers(s, schedule)
  local beside = schedule.groups and lane_groups.pattern_registers(s, schedule.groups, s.lanes) or other_registers(s)
  return family.registers(gradient.registers(s, schedule) + beside, s.target)
end

local function gradient_misfit(s, schedule)
  local several = s.members > 1
  local why = family.first { { (schedule.groups ~= nil) ~= several, "groups of several channels share the lanes" },
    { schedule.moved and (s.moves or several), "what is read is laid out anyway, or not at all" },
    { schedule.across and (s.moves or several or schedule.moved), "across is for pixels that are read where they are" },
    { schedule.across and (s.multiplier > 1 or s.channels < 2 * schedule.vectors * s.lanes),
      "across is for several vectors of channels, each of its own input" },
    table.unpack(schedule.groups and lane_groups.tile_misfits(s, schedule, s.lanes) or {}) }
    or family.first { gradient_registers(s, schedule) }
  if why then return why end
  local rows = {}
  for i, r in ipairs(gradient.rectangles(s, schedule)) do
    rows[i] = { #r.runs > most_row_runs, "needs %d runs of equal rows, at most %d", #r.runs, most_row_runs }
  end
  return family.first(rows) or family.first { text(gradient_text(s, schedule)) }
end

---- estimates ---------------------------------------------------------------------------------------------------------

local LINE, PAGE = 64, 4096

-- Loads that one of a vector is worth: what crosses lines takes two.
local function crossing(s)
  local bytes = s.target.bits // 8
  return s.pixel * s.size % bytes == 0 and 1 or 1 + bytes / LINE
end

local function vectors_of(s) return (s.channels + s.lanes - 1) // s.lanes end

-- Counts the steps of a row of tiles of one vector of channels, `times`; answers with the pixels of a row that its
-- tiles reach, those of outputs, and tiles.
local function count_steps(t, s, schedule, rows, times)
  local slots, positions, outputs, tiles = crossing(s) * s.members, 0, 0, 0
  local held = s.one_plane and s.rows and not schedule.across
  for _, run in ipairs(s.columns) do
    local v, n = run.variant, times * run.count
    local reached = axes.reached(s.pixels, v)
    local weights = held and 0 or rows.uses * s.p.kernel[3]
    local lines = rows.reached * reached + weights
    t:steps(n, rows.uses * v.uses * s.members, (schedule.streamed and (v.uses + s.p.kernel[3]) * rows.uses or lines) *
      slots, rows.uses * v.uses * s.members)
    t:stores(n * rows.size * v.size * slots)
    t:loops(n)
    local once = schedule.across and not schedule.streamed
    if not s.moves then t:crowds(n, once and lines - weights or lines, s.pixel * s.size, once) end
    positions, outputs, tiles = positions + run.count * reached, outputs + run.count * v.size, tiles + run.count
  end
  return positions, outputs, tiles
end

-- A line of a tensor in place, `bytes` after the last time. Nothing fetches it ahead out of the second cache, nor from
-- memory where a vector passes through pixels alone and these are in other pages.
local function line_in_place(s, schedule, bytes)
  local m, pages = s.m, schedule.across and 0 or math.min(s.pixel * s.size / PAGE, 1)
  return m.within(bytes, bytes, m.rates) + m.lost(bytes, m.l1) * (m.asked.l2 - m.rates.l2)
    + (1 - pages) * m.beyond(bytes, m.rates) + pages * m.beyond(bytes, m.asked)
end

-- What a vector reads of a row of tiles: n lines, of which the share far.fresh after all that the vector, or the image,
-- has, the others after a band of rows.
local function count_input(t, s, schedule, n, far)
  local function line(bytes) return s.moves and t.m.line(bytes) or line_in_place(s, schedule, bytes) end
  t.lines = t.lines + n * (far.fresh * line(far.all) + (1 - far.fresh) * line(far.band))
end

-- Where a vector is less than a line, other vectors take the rest of its lines: at once where a tile is taken through
-- all channels, else a row of tiles later; own: bytes of its lines until then.
local function count_rest(t, s, n, own)
  local walk = { chunk = LINE, pitch = math.max(s.pixel * s.size, LINE), own = own }
  if not s.planar then t:read(n, walk) end
end

-- Counts the row of tiles of one vector of channels, `times`; rows are those of one tile, {uses, reached, size}. far:
-- see count_input; store: of a line of results. Tiles that are taken through all channels read again what the tile
-- before did, and all weights.
local function count_row(t, s, schedule, rows, times, far)
  local positions, outputs, tiles = count_steps(t, s, schedule, rows, times)
  local width = math.min(positions, s.pixels.inputs // s.pixels.down)
  local input, output, share = rows.reached * width * s.members, rows.size * outputs,
    math.min(1, s.target.bits // 8 / LINE)
  local own = (input + output) * LINE
  count_input(t, s, schedule, times * share * input, far)
  t.lines = t.lines + times * share * output * far.store
  if schedule.across then
    own = (rows.reached * positions + output) / tiles * LINE
    local again = rows.reached * (positions - width) + tiles * rows.uses * s.p.kernel[3]
    t.lines = t.lines + times * share * again * line_in_place(s, schedule, own / LINE * s.pixel * s.size)
  end
  if share < 1 and not s.moves then count_rest(t, s, times * (1 - share) * (input + output), own) end
end

-- The rows of tiles of an image: {uses, reached, size, count}.
local function kinds_of(s)
  local kinds = {}
  for i, run in ipairs(s.rows or {}) do
    local v = run.variant
    kinds[i] = { uses = v.uses, reached = axes.reached(s.lines, v), size = v.size, count = run.count }
  end
  for i, axis in ipairs(s.rows and {} or s.axes[2]) do
    kinds[i] = { uses = axis.taps, reached = axis.taps, size = 1, count = axis.outputs }
  end
  return kinds
end

-- What laying out, and putting back, costs: all channels of an image, `times`.
local function count_moves(t, s, times)
  local all = (s.from.n + s.to.n) * s.p.batch * s.size
  if not s.planar and s.members == 1 then
    local chunk, pitch = math.min(s.target.bits // 8 // s.multiplier, s.from.all * s.size), s.from.all * s.size
    return t:copy(times * s.from.n // s.from.all * vectors_of(s), { chunk = chunk, pitch = pitch, own = all })
  end
  local moved = (s.from.n + (s.planar and s.to.n * (s.residual and 2 or 1) or 0)) * s.size
  t:turns(times * moved / 16)
  t:read(times, { chunk = s.from.n * s.size, pitch = s.from.n * s.size, own = all })
  if s.planar then t:write(times, s.to.n * s.size, s.to.n * s.size, all) end
end

-- Bytes that pass until a row of tiles reads again what the one before it did: of all channels, or of one vector that
-- stands alone.
local function band_of(s, rows)
  if not s.moves then return (rows.reached * s.from.h + rows.size * s.to.h) * s.size end
  return rows.reached * s.in_row * s.size + rows.size * s.to.size[3] * (s.planar and s.lanes * s.size or LINE)
end

-- A row of tiles is made for all channels before the next one: what it reads again of the one before comes from the
-- second cache or beyond when the channels are many. A vector that was laid out passes through all rows.
local function gathering_cycles(shape, schedule)
  local s, p, m = gathering.tiled(shape, schedule), shape.p, shape.m
  local t = m.tally()
  local size, kinds, planes, read, tasks = s.size, kinds_of(s), 0, 0, 0
  for _, axis in ipairs(s.axes[1]) do planes = planes + axis.outputs * math.max(axis.taps, 1) end
  for _, rows in ipairs(kinds) do read = read + rows.count * rows.reached end
  local fresh, all = math.min(read, s.from.size[2]) / math.max(read, 1), (s.from.n + s.to.n) * p.batch * size
  local alone = gathering.scratch(s) -- what one vector reads and writes there
  for _, rows in ipairs(kinds) do
    local n = p.batch * planes * rows.count
    local far = { fresh = fresh, all = s.moves and alone or all, band = band_of(s, rows),
      store = m.store(s.planar and alone or all) }
    count_row(t, s, schedule, rows, n * vectors_of(s), far)
    t:calls(n * (s.moves and vectors_of(s) or #s.parts))
    tasks = tasks + n
  end
  if s.moves then
    count_moves(t, s, p.batch)
    tasks = p.batch * vectors_of(s)
  end
  local packed = s.moves and p.weights == "changing" and m.pack(parts.weight_bytes(p), parts.weight_bytes(p)) or 0
  return t:cycles() / math.min(p.threads, tasks) + packed / p.threads
end

-- What a tile of one vector costs more, n times, where it is taken through a chunk of channels: its sums are loaded and
-- stored; what the tile before it had is read again; where a vector is less than a line, the next one takes the rest.
local function count_across(t, s, n, o)
  t:stores(n * o.sums)
  t:loops(n)
  t:crowds(n, o.lines, s.pixel * s.size, true)
  local share = math.min(1, s.target.bits // 8 / LINE)
  t.lines = t.lines + n * o.again * share * t.m.line(o.lines * s.pitch * s.size)
  if share < 1 then count_rest(t, s, n * o.lines * (1 - share), o.lines * LINE) end
end

-- Counts a rectangle's rows of one run of equal ones, for all vectors and planes.
local function count_run(t, s, schedule, r, run, times)
  local slots, members = crossing(s), s.members
  local loaded = schedule.groups and lane_groups.pattern_loads(s, schedule.groups, s.lanes) * members or slots
  for _, chunk in ipairs(r.chunks) do
    for _, column in ipairs(chunk.columns.row) do
      local v, n = column.variant, times * run.count * chunk.count * column.count
      local fmas = run.taps * v.uses * members + (r.bias and v.size or 0)
      local reached = run.taps * axes.reached(chunk.columns.axis, v)
      local sums, columns = s.groups and r.rows.size * r.columns.size * members or 0, reached // math.max(run.taps, 1)
      t:steps(n, fmas, reached * loaded + v.size * slots + sums, fmas)
      if s.groups then
        count_across(t, s, n, { sums = sums, lines = reached + v.size,
          again = run.taps * math.max(columns - v.size * s.p.stride[3], 0) })
      elseif not s.laid then t:crowds(n, reached + v.size, s.pixel * s.size) end
      t:loops(n / schedule.vectors)
    end
    t:loops(times * run.count * chunk.count / schedule.vectors)
  end
end

-- What a rectangle reads, of all planes: its input once and again for other rows of taps, and the gradient. image, row:
-- lines that pass in one of each; far: bytes after which both are read for the first time.
local function count_rectangle(t, s, schedule, r, count, o)
  local p, rows = s.p, 0
  local width = math.min(p.input[3], p.output[3] * math.max(r.columns.size, p.stride[3]))
  for _, run in ipairs(r.runs) do rows = rows + run.count * run.taps end
  local once, output = math.min(rows, p.input[2]), p.output[2] * p.output[3]
  local lines = math.max(o.chunk, s.laid and 0 or LINE)
  local image, row = (once * width + output) * lines, (r.rows.size * width + p.output[3]) * lines
  local function read(n, pitch, own, others)
    t:read(count * n, { chunk = o.chunk, pitch = pitch * s.size, own = own, others = others })
  end
  local share = s.laid and 1 or math.min(o.chunk / LINE, 1) -- other groups take the rest of a line an image later
  if s.laid then
    read(once * width, s.src.w, image)
    read(output, s.dst.w, image)
  else
    t.lines = t.lines + count * (once * width + output) * math.max(o.chunk / LINE, share)
      * line_in_place(s, schedule, o.all)
  end
  read((1 - share) * once * width, s.src.w, image)
  read((1 - share) * output, s.dst.w, image)
  read((rows - once) * width, s.src.w, row)
  t:calls(count * p.output[2] / math.min(reduce.block_rows(p.output[3]), p.output[2]) * #r.chunks)
end

-- What laying out both tensors costs, `times`: they are written as well.
local function count_laid(t, s, schedule, times)
  for _, tensor in ipairs { s.outside.src, s.outside.dst } do
    local bytes, all = tensor.n * s.p.batch * s.size, (s.outside.src.n + s.outside.dst.n) * s.p.batch * s.size
    t.work = t.work + times * bytes / LINE * t.m.store(s.in_scratch.all * s.size)
    if s.moves then
      t:turns(times * bytes / 16)
      t:read(times, { chunk = bytes, pitch = bytes, own = all })
    else
      local chunk = math.min(schedule.vectors * s.lanes, tensor.all) * s.size
      t:copy(times * bytes / chunk, { chunk = chunk, pitch = tensor.all * s.size, own = all })
    end
  end
end

-- How many times the vectors of a schedule's tile the channels are.
local function tiles_of(s, schedule)
  if schedule.groups then return lane_groups.columns(s, schedule.groups, s.lanes).all end
  return vectors_of(s) / schedule.vectors
end

-- Vectors of channels pass through all pixels before the next ones do; each rectangle of taps reads them anew.
local function gradient_cycles(shape, schedule)
  local s = gradient.laid(shape, schedule)
  local p, t, size = s.p, s.m.tally(), s.size
  local planes, groups = p.batch * p.output[1] * p.kernel[1], tiles_of(s, schedule)
  local o = { all = (shape.src.n + shape.dst.n) * p.batch * size,
    chunk = (s.groups and s.pitch or schedule.groups and schedule.groups * s.ocg
      or math.min(schedule.vectors * s.lanes, s.channels)) * size }
  for _, r in ipairs(gradient.rectangles(s, schedule)) do
    for _, run in ipairs(r.runs) do count_run(t, s, schedule, r, run, planes * groups * schedule.vectors) end
    count_rectangle(t, s, schedule, r, planes * groups / (s.groups or 1), o)
  end
  if s.laid then count_laid(t, s, schedule, p.kernel[1]) end
  return t:cycles() / math.min(p.threads, math.ceil(groups / (s.groups or 1)))
end

---- the space ---------------------------------------------------------------------------------------------------------

-- Calls add() with each size of tiles, and once more with what is read laid out first, where it may stand in place.
local function gathering_candidates(s, add)
  local free, kh, kw = free_registers(s), s.p.kernel[2], s.p.kernel[3] * s.members -- weights in a row of taps
  local step, unit, none = s.lines.down, s.pixels.down, true
  local units = (s.pixels.outputs + unit - 1) // unit
  local function try(pixels, fields)
    local most = math.min(pixels // unit, units)
    if most < 1 then return end
    fields.pixels, none = cut.even_size(units, most) * unit, false
    add(fields)
    if s.moves then return end
    for _, mark in ipairs { "moved", s.channels > s.lanes and "across" or nil } do
      add { rows = fields.rows, row = fields.row, streamed = fields.streamed, pixels = fields.pixels, [mark] = true }
    end
  end
  for rows = step, math.min(4 * step, s.lines.outputs + step - 1), step do
    local most = (free - kh * kw) // rows
    for _, pixels in ipairs { most, most // 2, most > 4 and 4 or 0 } do try(pixels, { rows = rows }) end
  end
  for _, pixels in ipairs { free - kw, (free - kw) // 2 } do try(pixels, { row = true }) end
  for _, pixels in ipairs { free - 1, (free - 1) // 2 } do try(pixels, { streamed = true }) end
  if none then try(unit, { streamed = true }) end
end

-- Of groups that share the lanes: as many taps of a row as fit, and rows of them.
local function lane_candidates(s, add)
  local p = s.p
  lane_groups.each_tile(s, s.lanes, function(groups, v)
    for _, width in ipairs { p.kernel[3], (p.kernel[3] + 1) // 2, 1 } do
      for _, height in ipairs { p.kernel[2], 1 } do
        local schedule = { groups = groups, vectors = v, height = height, width = cut.even_size(p.kernel[3], width),
          pixels = cut.even_size(math.min(p.output[3], reduce.block), 8) }
        if not family.first { gradient_registers(s, schedule) } then return add(schedule) end
      end
    end
  end, true)
end

local function gradient_candidates(s, add)
  if s.members > 1 then return lane_candidates(s, add) end
  local p, free, kh, kw = s.p, free_registers(s), s.p.kernel[2], s.p.kernel[3]
  local vectors = math.max(s.channels // s.lanes, 1)
  local function try(height, width, v, pixels)
    local several = s.multiplier == 1 and s.channels >= 2 * math.min(v, vectors) * s.lanes
    for i = 1, s.moves and 1 or several and 3 or 2 do
      add { height = cut.even_size(kh, height), width = cut.even_size(kw, width), moved = i == 2 or nil,
        across = i == 3 or nil,
        pixels = cut.even_size(math.min(p.output[3], reduce.block), pixels), vectors = math.min(v, vectors) }
    end
  end
  -- As many rows of taps as fit.
  local function most_height(width, v, pixels)
    local beside = gradient.registers(s, { height = 0, width = width, vectors = v, pixels = pixels })
    return math.max(math.min((free - beside) // (v * width), kh), 0)
  end
  for _, width in ipairs { kw, (kw + 1) // 2, math.min(kw, 4), 1 } do
    for _, pixels in ipairs { 8, 4 } do
      for v = 1, 3 do
        local height = most_height(width, v, pixels)
        if height == kh or v == 1 and height >= 1 then try(height, width, v, pixels) end
      end
    end
  end
  for _, pixels in ipairs { 8, 4 } do try(1, 1, 1, pixels) end
end

return family.new { name = "depthwise", forms = forms, refused = refused,
  gathers = { shape = gathering.shape, candidates = gathering_candidates, misfit = gathering_misfit,
    cycles = gathering_cycles, stages = gathering.stages },
  sums = { shape = gradient.shape, refused = sums_refused, candidates = gradient_candidates, misfit = gradient_misfit,
    cycles = gradient_cycles, stages = gradient.stages } }
