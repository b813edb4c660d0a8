-- planar_gather.lua: the part of the planar family for forward and backward data: neighbouring pixels of a row in the
-- lanes, a few output channels beside each other, weights broadcast.
--
-- A row of the input is read where it is when its pixels are neighbours in memory and the stride along w is 1; else the
-- rows that a task needs are first laid out in scratch, a row for each channel and each residue of the stride. Outputs
-- whose pixels are not neighbours go through scratch too. A padded tap leaves the lanes of its outputs alone.
local program = require "program"
local driver = require "driver"
local gather = require "gather"
local parts = require "parts"
local view = require "view"
local cut = require "tiles"
local relayout = require "relayout"
local planar_gather = {}

local round_up = parts.round_up

---- the shape of a problem --------------------------------------------------------------------------------------------

-- A 1x1 kernel over everything, where pixels are neighbours: an image is one row, or rows of whole vectors that tasks
-- can share.
local function flatten(p, lanes)
  if p.layout ~= "nchw" then return p end
  for i = 1, 3 do
    if p.kernel[i] ~= 1 or p.stride[i] ~= 1 or p.pad[i] ~= 0 or p.input[i] ~= p.output[i] then return p end
  end
  local pixels = p.input[1] * p.input[2] * p.input[3]
  local length = pixels
  for candidate = 512 // lanes * lanes, lanes, -lanes do
    if pixels % candidate == 0 then length = candidate; break end
  end
  local row = { 1, pixels // length, length }
  return setmetatable({ input = row, output = row }, { __index = p })
end

function planar_gather.shape(problem, target)
  local size, lanes = parts.size_of(problem), parts.lanes_of(problem, target)
  local p = flatten(problem, lanes)
  local forward = p.pass == "forward"
  local from, to = view.gathered(p)
  local s = { p = p, size = size, lanes = lanes, part = 16 // size, forward = forward, from = from, to = to, axes = gather.axes(p),
    taps = p.kernel[1] * p.kernel[2] * p.kernel[3] }
  s.phases = #s.axes[3]            -- of the output row
  s.step = forward and p.stride[3] or 1 -- residues of the input row
  s.moves_in = not s.from.neighbours or s.step > 1
  s.moves_out = not s.to.neighbours or s.phases > 1
  -- Rows in scratch: of the input [plane][row][channel][residue][q], of the output [channel][phase][q].
  s.in_pitch = round_up((s.from.size[3] + s.step - 1) // s.step, lanes) + lanes
  s.out_pitch = round_up(s.axes[3][1].outputs, lanes)
  s.in_row = s.from.all * s.step * s.in_pitch
  s.rows_known = {} -- row_runs of an axis by the most vectors of a tile: many schedules share them
  return s
end

---- tiles: vectors of pixels, and the lanes that each tap gives them --------------------------------------------------

-- Where tap t of pixel 0 is: its residue, and its place in that residue's row.
local function tap_place(s, axis, t)
  local at = axis.offset + t * axis.tap_step
  return at % s.step, at // s.step
end

-- The lanes of a vector that begins with pixel `first` and has `stored` results: nil when tap t gives none, else what
-- to load. padded: some of the results must not see the tap.
local function lanes_of_tap(s, axis, t, first, stored)
  local at = axis.offset + t * axis.tap_step
  local low = math.max(-(at // axis.step) - first, 0)                      -- at + pixel * step >= 0
  local high = math.min((axis.inputs - 1 - at) // axis.step - first, stored - 1) -- and < inputs
  if low > high then return nil end
  if low > 0 or high < stored - 1 then return { first = low, count = high - low + 1, padded = true } end
  local _, q = tap_place(s, axis, t)
  local room = s.moves_in and s.in_pitch or s.from.size[3]
  if first + q + s.lanes <= room then return { first = 0, count = s.lanes } end
  return { first = 0, count = stored }
end

local function key_of(segment)
  local words = {}
  for v, lanes in pairs(segment.lanes) do words[#words + 1] = ("%d:%d+%d"):format(v, lanes.first, lanes.count) end
  table.sort(words)
  return table.concat(words, " ")
end

-- Segments of a tile: taps with the same lanes that follow one another are one, where they follow one another in
-- memory.
local function segments(s, axis, first, vectors, last)
  local list = {}
  for t = 0, axis.taps - 1 do
    local segment = { tap = t, taps = 1, lanes = {} }
    for v = 0, vectors - 1 do
      segment.lanes[v] = lanes_of_tap(s, axis, t, first + v * s.lanes, v == vectors - 1 and last or s.lanes)
    end
    if next(segment.lanes) then
      segment.key = key_of(segment)
      local before = list[#list]
      if before and s.step == 1 and before.key == segment.key and before.tap + before.taps == t then
        before.taps = before.taps + 1
      else
        list[#list + 1] = segment
      end
    end
  end
  return list
end

-- The vectors [low, high) of a row whose lanes all tap all pixels, and which may be read whole: their tiles are alike.
local function inner_vectors(s, axis)
  local low, high = cut.inner(axis)
  local room = s.moves_in and s.in_pitch or s.from.size[3]
  for _, t in ipairs { 0, axis.taps - 1 } do
    local _, q = tap_place(s, axis, t)
    high = math.min(high, room - q)
  end
  return (low + s.lanes - 1) // s.lanes, high // s.lanes
end

local plenty = 16 -- variants: more than planar takes, so that the rest of the row need not be looked at

local function make_row_runs(s, axis, most)
  local variants, by_key, runs = {}, {}, {}
  local all = (axis.outputs + s.lanes - 1) // s.lanes
  for _, piece in ipairs(cut.pieces_about(all, most, inner_vectors(s, axis))) do
    local first = piece.first * s.lanes
    local last = math.min(axis.outputs - first - (piece.size - 1) * s.lanes, s.lanes)
    local list = segments(s, axis, first, piece.size, last)
    local words = { piece.size, last }
    for _, segment in ipairs(list) do words[#words + 1] = ("%d+%d %s"):format(segment.tap, segment.taps, segment.key) end
    local key = table.concat(words, ";")
    local variant = by_key[key]
    if not variant then
      variant = { vectors = piece.size, last = last, segments = list }
      by_key[key] = variant
      variants[#variants + 1] = variant
    end
    local run = runs[#runs]
    if run and run.variant == variant then run.count = run.count + piece.count
    else runs[#runs + 1] = { variant = variant, first = first, count = piece.count } end
    if #variants == plenty then break end
  end
  return { runs = runs, variants = variants }
end

-- The tiles of a row as runs {variant, first pixel, count}; a variant is {vectors, last, segments}. A row that has
-- plenty of variants is not finished.
function planar_gather.row_runs(s, axis, most)
  local known = s.rows_known[axis] or {}
  s.rows_known[axis] = known
  known[most] = known[most] or make_row_runs(s, axis, most)
  return known[most].runs, known[most].variants
end

---- the kernel --------------------------------------------------------------------------------------------------------

local unrolled = 512 -- multiply-adds of a row of taps up to which channels are written out

-- What the pointers of a tile step over: the input by channel, row and plane; a panel is [taps][channels][m].
local function pitches(s, axes, m)
  local from, panel_tap = s.from, s.from.channels * m
  local tap = { axes[1].tap_stride * s.p.kernel[2] * s.p.kernel[3] * panel_tap, axes[2].tap_stride * s.p.kernel[3] * panel_tap,
    axes[3].tap_stride * panel_tap }
  if s.moves_in then
    return { channel = s.step * s.in_pitch, row = axes[2].tap_step * s.in_row, plane = planar_gather.plane_rows(s) * s.in_row,
      tap = tap }
  end
  return { channel = from.c, row = axes[2].tap_step * from.h, plane = axes[1].tap_step * from.d, tap = tap }
end

-- Multiply-adds of one segment from x and w on.
local function segment_body(k, s, r, segment, m, pitch, x, w, straight)
  local list = {}
  for v = 0, r.vectors - 1 do if segment.lanes[v] then list[#list + 1] = v end end
  local single = #list == 1 and k.target.broadcast_operand
  local function channel(a, a_at, b, b_at)
    for _, v in ipairs(list) do
      local lanes = segment.lanes[v]
      k:load(r.x[v], k:at(a, a_at + v * s.lanes), lanes.first, lanes.count)
    end
    for c = 0, m - 1 do
      local w = single and k:memory_broadcast(k:at(b, b_at + c)) or r.w
      if not single then k:broadcast(w, k:at(b, b_at + c)) end
      for _, v in ipairs(list) do
        local lanes = segment.lanes[v]
        k:fma(r.acc[c][v], r.x[v], w, lanes.padded and lanes.first, lanes.padded and lanes.count)
      end
    end
  end
  if straight then
    for i = 0, s.from.channels - 1 do channel(x, i * pitch.channel, w, i * m) end
    return
  end
  if segment.taps > 1 then x, w = k:copy("xi", x), k:copy("wi", w) end
  k:loop(s.from.channels, function()
    channel(x, 0, w, 0)
    k:advance(x, pitch.channel)
    k:advance(w, m)
  end)
end

local function tile_kernel(s, axes, variant, m, target, name)
  local p = s.p
  local k = program.new { name = name, type = p.type, target = target }
  k.about = ("acc[c][v] += x[v] * w[c]: the lanes are neighbouring pixels of a row, c = 0..%d output channels whose weights are broadcast. "
    .. "`planes` and `rows` of taps lie inside the input; taps in the padding along w read zeros or fewer lanes."):format(m - 1)
  local input, panel = k:pointer("input", "in"), k:pointer("panel", "in")
  local bias = s.forward and p.bias and k:pointer("bias", "in")
  local residual = s.forward and p.epilogue.residual and not s.moves_out and k:pointer("residual", "in")
  local output = k:pointer("output", "out")
  local planes, rows = k:count("planes"), k:count("rows")
  local axis, pitch = axes[3], pitches(s, axes, m)
  local r = { vectors = variant.vectors, acc = {}, x = {}, w = k:vector "w" }
  for v = 0, variant.vectors - 1 do r.x[v] = k:vector("x" .. v) end
  for c = 0, m - 1 do
    r.acc[c] = {}
    for v = 0, variant.vectors - 1 do
      r.acc[c][v] = k:vector(("acc%d_%d"):format(c, v))
      k:zero(r.acc[c][v])
    end
  end
  local straight = axis.taps * s.from.channels * m * variant.vectors <= unrolled
  k:loop(planes, function()
    local row, weights = k:copy("row", input), k:copy("row_weights", panel)
    k:loop(rows, function()
      for _, segment in ipairs(variant.segments) do
        local residue, q = tap_place(s, axis, segment.tap)
        local x, w = k:copy("x", row), k:copy("w", weights)
        k:advance(x, residue * s.in_pitch + q)
        k:advance(w, segment.tap * pitch.tap[3])
        k:loop(segment.taps, function()
          segment_body(k, s, r, segment, m, pitch, x, w, straight)
          if segment.taps > 1 then
            k:advance(x, axis.tap_step)
            k:advance(w, pitch.tap[3])
          end
        end)
      end
      k:advance(row, pitch.row)
      k:advance(weights, pitch.tap[2])
    end)
    k:advance(input, pitch.plane)
    k:advance(panel, pitch.tap[1])
  end)

  local finishes = s.forward and not (s.moves_out and p.epilogue.residual)
  local channel = s.moves_out and s.phases * s.out_pitch or s.to.c
  for c = 0, m - 1 do
    if bias then k:broadcast(r.w, k:at(bias, c)) end
    for v = 0, variant.vectors - 1 do
      local count = v == variant.vectors - 1 and not s.moves_out and variant.last or s.lanes
      local at = c * channel + v * s.lanes
      if bias then k:add(r.acc[c][v], r.acc[c][v], r.w) end
      if finishes then
        parts.epilogue(k, p, r.acc[c][v], r.x[v], nil, residual and k:at(residual, at), 0, count)
      end
      k:store(k:at(output, at), r.acc[c][v], 0, count)
    end
  end
  return k:finish()
end

---- packing -----------------------------------------------------------------------------------------------------------

-- Panels follow one another: [group][piece of output channels][tap][input channel][m].
local function panel_at(s, g, c) return (g * s.to.channels + c) * (s.taps * s.from.channels) end

-- For each layout and pass: the second index of a task and the kernel that moves one of it; from and to as offsets.
local function packing(s, m, target, name)
  local p, icg, ocg = s.p, s.p.ic // s.p.groups, s.p.oc // s.p.groups
  local o = { name = name, type = p.type, target = target }
  if p.layout == "nchw" then
    local how = relayout.weights(p, m, m, false, o)
    return { count = how.count, kernel = how.kernel, from = function(g, c, i) return how.first(g, c) + i * how.from end, to = how.to }
  elseif s.forward then
    return { count = 1, from = function(g, c, _) return g * ocg + c end, to = 0, kernel = relayout.copy({
      about = "Copies the weights that one tile uses into a panel, which it then reads from front to back.",
      from = "weights", to = "panel", elements = m, axes = { { count = s.taps * icg, from = p.oc, to = m } } }, o) }
  end
  return { count = s.taps, to = ocg * m, from = function(g, c, tap) return tap * (icg * p.oc) + c * p.oc + g * ocg end,
    kernel = relayout.to_pixels({ channels = m, pixels = ocg, pitch = m, limit = ocg * m, row = p.oc }, o) }
end

local function pack_stage(s, pieces, target, kernels)
  local list = {}
  for _, run in ipairs(pieces) do
    local how = packing(s, run.size, target, "pack" .. #kernels)
    kernels[#kernels + 1] = how.kernel
    list[#list + 1] = { indices = { { "g", s.p.groups }, { "piece", run.count } }, body = function(d, g, piece)
      local c = d:let("c", piece * run.size + run.first)
      d:loop("i", 0, how.count, 1, function(i)
        d:call(how.kernel, { { d.weights, how.from(g, c, i) }, { d.packed, panel_at(s, g, c) + i * how.to } })
      end)
    end }
  end
  return driver.stage { name = "pack", pack = true, parts = list }
end

---- what a task needs in scratch --------------------------------------------------------------------------------------

-- Rows of input that the output rows of a block may need: at most an image's.
function planar_gather.plane_rows(s)
  local most = 0
  for _, axis in ipairs(s.axes[2]) do
    local rows = math.min(s.rows, axis.outputs)
    most = math.max(most, (rows - 1) * axis.step + math.max(axis.taps - 1, 0) * math.abs(axis.tap_step) + 1)
  end
  return math.min(most, s.from.size[2])
end

local function planes_of(s)
  local most = 1
  for _, axis in ipairs(s.axes[1]) do most = math.max(most, math.min(axis.taps, s.from.size[1])) end
  return most
end

-- Elements: the input's rows, the output's, and where a residual follows, the output as pixels.
local function scratch_layout(s)
  local input = s.moves_in and planes_of(s) * planar_gather.plane_rows(s) * s.in_row + s.lanes or 0
  local out = s.moves_out and s.to.all * s.phases * s.out_pitch or 0
  local finish = s.moves_out and s.forward and s.p.epilogue.residual
  local pixels = finish and round_up(s.to.all * s.to.size[3], s.lanes) or 0
  return { out = input, pixels = input + out, elements = input + out + pixels, finish = finish }
end

-- Views of one input row, {view, from, to}: one a residue when channels stand beside each other, one a channel
-- otherwise.
local function input_views(s)
  local list, from = {}, s.from
  if from.w == from.all and from.all > 1 then
    for residue = 0, math.min(s.step, from.size[3]) - 1 do
      local pixels = (from.size[3] - residue + s.step - 1) // s.step
      list[#list + 1] = { channels = 1, from = residue * from.w, to = residue * s.in_pitch, view = { channels = from.all,
        pixels = pixels, pitch = s.step * from.w, limit = (pixels - 1) * s.step * from.w + from.all, row = s.step * s.in_pitch } }
    end
  else
    list[1] = { channels = from.all, from = 0, to = 0, view = { channels = math.min(s.step, from.size[3]),
      pixels = (from.size[3] + s.step - 1) // s.step, pitch = s.step, limit = from.size[3], row = s.in_pitch } }
  end
  return list
end

local function output_views(s)
  local list, to = {}, s.to
  if to.w == to.all and to.all > 1 then
    for i, axis in ipairs(s.axes[3]) do
      local pitch = axis.stride * to.w
      list[#list + 1] = { channels = 1, from = (i - 1) * s.out_pitch, to = axis.start * to.w, view = { channels = to.all,
        pixels = axis.outputs, pitch = pitch, limit = (axis.outputs - 1) * pitch + to.all, row = s.phases * s.out_pitch } }
    end
  else
    list[1] = { channels = to.all, from = 0, to = 0, view = { channels = s.phases, pixels = s.axes[3][1].outputs,
      pitch = s.axes[3][1].stride, limit = to.size[3], row = s.out_pitch } }
  end
  return list
end

local function view_kernels(s, views, make, target, kernels)
  local made = {}
  for _, v in ipairs(views) do
    local key = ("%d %d"):format(v.view.pixels, v.view.limit)
    if not made[key] then
      made[key] = make(v.view, { name = "move" .. #kernels, type = s.p.type, target = target })
      kernels[#kernels + 1] = made[key]
    end
    v.kernel = made[key]
  end
  return views
end

---- stages ------------------------------------------------------------------------------------------------------------

-- Kernels of all tiles of one phase of rows: {piece run, phase number, axis, runs, kernel_of}.
local function tile_set(s, schedule, pieces, d_axis, h_axis, target, kernels)
  local set = {}
  for number, axis in ipairs(s.axes[3]) do
    local runs, variants = planar_gather.row_runs(s, axis, schedule.vectors)
    for _, piece in ipairs(pieces) do
      local kernel_of = {}
      for _, variant in ipairs(variants) do
        kernel_of[variant] = tile_kernel(s, { d_axis, h_axis, axis }, variant, piece.size, target, ("tile%d"):format(#kernels))
        kernels[#kernels + 1] = kernel_of[variant]
      end
      set[#set + 1] = { piece = piece, number = number, axis = axis, runs = runs, kernel_of = kernel_of }
    end
  end
  return set
end

-- Everything a call needs to know of the row it works on: where its input, weights and output begin.
local function row_place(d, s, axes, at)
  local p, from, to = s.p, s.from, s.to
  local row, rows = gather.tap_range(d, axes[2], at.j, "row")
  local here
  if s.moves_in then
    here = (at.j * axes[2].step + axes[2].offset + row * axes[2].tap_step - at.low) * s.in_row
  else
    here = at.n * from.n + (at.jd * axes[1].step + axes[1].offset + at.plane * axes[1].tap_step) * from.d +
      (at.j * axes[2].step + axes[2].offset + row * axes[2].tap_step) * from.h
  end
  local tap = ((axes[1].first_tap + at.plane * axes[1].tap_stride) * p.kernel[2] + axes[2].first_tap +
    row * axes[2].tap_stride) * p.kernel[3]
  return { here = d:let("here", here), tap = d:let("tap", tap), rows = rows, planes = at.planes,
    there = d:let("there", at.n * to.n + (at.jd * axes[1].stride + axes[1].start) * to.d +
      (at.j * axes[2].stride + axes[2].start) * to.h) }
end

local function call_tile(d, s, place, tiles, layout, variant, g, c, w)
  local from, to, m = s.from, s.to, tiles.piece.size
  local channel = g * to.channels + c
  local out = place.there + channel * to.c + w
  local args = { { s.moves_in and d.scratch or d[from.base],
      place.here + g * (from.channels * (s.moves_in and s.step * s.in_pitch or from.c)) + w },
    { d.packed, panel_at(s, g, c) + (place.tap + tiles.axis.first_tap) * (from.channels * m) } }
  if s.forward and s.p.bias then args[#args + 1] = { d.bias, channel } end
  if s.forward and s.p.epilogue.residual and not s.moves_out then args[#args + 1] = { d.residual, out } end
  args[#args + 1] = s.moves_out and
    { d.scratch, channel * (s.phases * s.out_pitch) + (layout.out + (tiles.number - 1) * s.out_pitch) + w } or { d[to.base], out }
  args[#args + 1], args[#args + 2] = place.planes, place.rows
  d:call(tiles.kernel_of[variant], args)
end

-- All pixels of a row, and for each tile of them the channels of a piece run.
local function row_of_tiles(d, s, place, set, layout, pieces, g)
  local runs_done = {}
  for _, first in ipairs(set) do
    if not runs_done[first.number] then
      runs_done[first.number] = true
      for index, run in ipairs(first.runs) do
        local width = run.variant.vectors * s.lanes
        d:loop("w", run.first, run.first + run.count * width, width, function(w)
          for _, tiles in ipairs(set) do
            if tiles.number == first.number then pieces(tiles, function(c)
              call_tile(d, s, place, tiles, layout, tiles.runs[index].variant, g, c, w)
            end) end
          end
        end)
      end
    end
  end
end

local function move_in(d, s, views, at, axes)
  local from = s.from
  local reach = math.max(axes[2].taps - 1, 0) * axes[2].tap_step
  local low = d:let("low", driver.max(at.first * axes[2].step + (axes[2].offset + math.min(0, reach)), 0))
  local high = d:let("high", driver.min((at.last - 1) * axes[2].step + (axes[2].offset + math.max(0, reach) + 1), from.size[2]))
  d:loop("plane", 0, at.planes, 1, function(plane)
    local source = d:let("source", at.n * from.n +
      (at.jd * axes[1].step + axes[1].offset + (at.plane + plane) * axes[1].tap_step) * from.d)
    d:loop("row", low, high, 1, function(row)
      local to = d:let("to", plane * (planar_gather.plane_rows(s) * s.in_row) + (row - low) * s.in_row)
      for _, v in ipairs(views) do
        d:loop("channel", 0, v.channels, 1, function(c)
          d:call(v.kernel, { { d[from.base], source + row * from.h + c * from.c + v.from },
            { d.scratch, to + c * (s.step * s.in_pitch) + v.to } })
        end)
      end
    end)
  end)
  return low
end

local function move_out(d, s, views, place, layout, finish)
  local to = s.to
  for _, v in ipairs(views) do
    d:loop("channel", 0, v.channels, 1, function(c)
      d:call(v.kernel, { { d.scratch, c * (s.phases * s.out_pitch) + (layout.out + v.from) },
        finish and { d.scratch, layout.pixels + v.to } or { d[to.base], place.there + c * to.c + v.to } })
    end)
  end
  if finish then d:call(finish, { { d.scratch, layout.pixels }, { d.residual, place.there }, { d.dst, place.there } }) end
end

-- Tasks of one phase of planes and rows. With `panel` channels come first, so that a panel stays near while pixels
-- pass.
local function compute_part(s, schedule, pieces, d_axis, h_axis, moves, target, kernels)
  local axes, layout = { d_axis, h_axis }, moves.layout
  local set = tile_set(s, schedule, pieces, d_axis, h_axis, target, kernels)
  local rows = math.min(s.rows, h_axis.outputs)
  local function block(d, n, jd, number, body)
    local at = { n = n, jd = jd }
    at.plane, at.planes = gather.tap_range(d, d_axis, jd, "plane")
    at.first = number * rows
    at.last = d:let("last", driver.min(number * rows + rows, h_axis.outputs))
    if s.moves_in then at.low = move_in(d, s, moves.input, at, axes) end
    d:loop("j", at.first, at.last, 1, function(j)
      at.j = j
      body(row_place(d, s, axes, at))
    end)
  end
  local rest = { { "n", s.p.batch }, { "jd", d_axis.outputs }, { "block", (h_axis.outputs + rows - 1) // rows } }
  if schedule.panel then
    local list = {}
    for _, run in ipairs(pieces) do
      local mine = {}
      for _, tiles in ipairs(set) do if tiles.piece == run then mine[#mine + 1] = tiles end end
      list[#list + 1] = { indices = { { "g", s.p.groups }, { "piece", run.count }, table.unpack(rest) },
        body = function(d, g, piece, n, jd, number)
          local c = d:let("c", piece * run.size + run.first)
          block(d, n, jd, number, function(place)
            row_of_tiles(d, s, place, mine, layout, function(_, body) body(c) end, g)
          end)
        end }
    end
    return list
  end
  return { { indices = rest, body = function(d, n, jd, number)
    block(d, n, jd, number, function(place)
      d:loop("g", 0, s.p.groups, 1, function(g)
        row_of_tiles(d, s, place, set, layout, function(tiles, body)
          local run = tiles.piece
          d:loop("c", run.first, run.first + run.count * run.size, run.size, body)
        end, g)
      end)
      if s.moves_out then move_out(d, s, moves.output, place, layout, moves.finish) end
    end)
  end } }
end

-- Kernels and stages of a schedule; see families in convgen.lua.
function planar_gather.stages(problem, schedule, target)
  local s = planar_gather.shape(problem, target)
  s.rows = schedule.rows
  local pieces, kernels = cut.piece_runs(s.to.channels, schedule.channels), {}
  local pack = pack_stage(s, pieces, target, kernels)
  local moves = { layout = scratch_layout(s) }
  if s.moves_in then moves.input = view_kernels(s, input_views(s), relayout.to_rows, target, kernels) end
  if s.moves_out then moves.output = view_kernels(s, output_views(s), relayout.to_pixels, target, kernels) end
  if moves.layout.finish then
    -- Residual and activation over a row of pixels' channels, when the tiles could not do it.
    moves.finish = relayout.copy({ register = "acc", elements = s.to.all * s.to.size[3], many = true, finish = s.p },
      { name = "finish", type = s.p.type, target = target })
    kernels[#kernels + 1] = moves.finish
  end
  local list = {}
  for _, d_axis in ipairs(s.axes[1]) do
    for _, h_axis in ipairs(s.axes[2]) do
      for _, part in ipairs(compute_part(s, schedule, pieces, d_axis, h_axis, moves, target, kernels)) do list[#list + 1] = part end
    end
  end
  return { kernels = kernels, packed = s.to.all * s.taps * s.from.channels * s.size, shared = 0,
    stages = { pack, driver.stage { name = "compute", parts = list, scratch = moves.layout.elements * s.size } } }
end

return planar_gather
