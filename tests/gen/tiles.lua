-- How rows are cut: the pieces about the inner ones are the even ones, a pixel of a tile gets the taps that are inside for it, and no family walks along a row of a million pixels.
local suite = require "suite"
local cut, space = require "tiles", require "space"

local seed = tonumber(os.getenv "CONVGEN_SEED") or os.time()
math.randomseed(seed)

suite.case("pieces about the inner ones are the even pieces", function()
  for trial = 1, 2000 do
    local count, most = math.random(0, 60), math.random(1, 9)
    local low, high = math.random(-5, 65), math.random(-5, 65)
    local list, what = {}, ("seed %d, trial %d: %d, %d, %d, %d"):format(seed, trial, count, most, low, high)
    for _, piece in ipairs(cut.pieces_about(count, most, low, high)) do
      for i = 0, piece.count - 1 do
        local first = piece.first + i * piece.size
        list[#list + 1] = first .. "+" .. piece.size
        local whole = first >= low and first + piece.size <= high
        if whole ~= piece.whole then error(what .. ": " .. list[#list]) end
      end
    end
    local even = cut.even_pieces(count, most)
    for i, piece in ipairs(even) do
      if list[i] ~= piece.first .. "+" .. piece.size then error(("%s: piece %d is %s"):format(what, i, list[i])) end
    end
    if #list ~= #even then error(what) end
  end
end)

-- Runs of tiles without the tiles, against the tiles one by one.
suite.case("runs of columns and of even pieces are those of the tiles", function()
  for trial = 1, 2000 do
    local channels, vectors, lanes = math.random(1, 200), math.random(1, 4), 1 << math.random(0, 4)
    local what = ("seed %d, trial %d: %d, %d, %d"):format(seed, trial, channels, vectors, lanes)
    local runs, number = cut.runs_of_columns(channels, vectors, lanes), 0
    for _, run in ipairs(runs) do
      suite.equal(run.index, number)
      for i = 0, run.count - 1 do
        local t, size = run.tile, math.min(vectors * lanes, channels - number * vectors * lanes)
        local v = (size + lanes - 1) // lanes
        if i == 0 and t.first ~= number * vectors * lanes then error(what .. ": first") end
        for field, value in pairs { channels = size, vectors = v, last = size - (v - 1) * lanes, width = v * lanes } do
          if t[field] ~= value then error(what .. ": " .. field) end
        end
        number = number + 1
      end
    end
    suite.equal(number, (channels + vectors * lanes - 1) // (vectors * lanes))
    suite.equal(runs.all, number)
    local at = 1
    local pieces = cut.even_pieces(channels, vectors)
    for _, run in ipairs(cut.piece_runs(channels, vectors)) do
      for i = 0, run.count - 1 do
        local piece = pieces[at]
        if piece.first ~= run.first + i * run.size or piece.size ~= run.size then error(what) end
        at = at + 1
      end
    end
    suite.equal(at, #pieces + 1)
  end
end)

-- Of a run of tiles each, of contiguous taps and of others: every pixel, tap by tap.
suite.case("a pixel has the taps that are inside", function()
  local gather = require "gather"
  local function inside(axis, j, t)
    local x = gather.input_at(axis, j, t)
    return x >= 0 and x < axis.inputs
  end
  for trial = 1, 3000 do
    local axis = { outputs = math.random(1, 40), inputs = math.random(1, 40), taps = math.random(0, 5), step = math.random(1, 3),
      offset = math.random(-9, 9), tap_step = math.random(1, 3) * (math.random(2) == 1 and 1 or -1) }
    local runs, variants = cut.row_runs(axis, math.random(1, 7), trial % 2 == 0 and axis.tap_step == 1)
    local at = 0
    for _, run in ipairs(runs) do
      suite.equal(run.first, at)
      for pixel = 0, run.count * run.variant.size - 1 do
        local taps, before = {}, -1
        for _, s in ipairs(run.variant.segments) do
          local m = pixel % run.variant.size
          for t = s.tap, s.tap + s.taps - 1 do
            if t <= before then error "taps do not ascend" end
            before = t
            if m >= s.first and m <= s.last then taps[t] = true end
          end
        end
        for t = 0, axis.taps - 1 do
          if (taps[t] or false) ~= inside(axis, at + pixel, t) then
            error(("seed %d, trial %d: output %d, tap %d"):format(seed, trial, at + pixel, t))
          end
        end
      end
      at = at + run.count * run.variant.size
    end
    if #variants < 16 then suite.equal(at, axis.outputs) end
    local seen = 0
    for pixel = 0, axis.outputs - 1 do
      for t = 0, axis.taps - 1 do if inside(axis, pixel, t) then seen = seen + 1 end end
    end
    suite.equal(cut.seen(axis), seen)
    local pixels = math.random(1, 4)
    if cut.border_tiles(axis, pixels) > #select(2, cut.row_runs(axis, pixels, false)) then
      error(("seed %d, trial %d: fewer variants than are told"):format(seed, trial))
    end
  end
end)

local machine = { l1d = 49152, l2 = 1 << 20, l3 = 32 << 20, line = 64, cores = 2, features = {} }

-- Millions of Lua's instructions that listing the schedules takes.
local function millions(fields)
  local p = { type = "f32", layout = "nhwc", accuracy = "loop", weights = "changing", batch = 1, groups = 1, ic = 1, oc = 1,
    stride = { 1, 1, 1 }, dilation = { 1, 1, 1 }, pad = { 0, 0, 0 }, bias = false, threads = 1, macs = 1e9,
    epilogue = { residual = false, activation = "none", lo = 0, hi = 0 }, text = "long" }
  for key, value in pairs(fields) do p[key] = value end
  local n = 0
  debug.sethook(function() n = n + 1 end, "", 1000000)
  local list = space.list(p, "avx512", machine)
  debug.sethook()
  return n, list[1].family
end

for _, pass in ipairs { "forward", "backward_data", "backward_weights" } do
  suite.case("a million pixels, " .. pass, function()
    local n, family = millions { pass = pass, input = { 1, 1, 1000000 }, output = { 1, 1, 1000000 }, kernel = { 1, 1, 3 }, pad = { 0, 0, 1 } }
    if n > 20 or family == "plain" then error(("%d million instructions, %s first"):format(n, family)) end
  end)
end

suite.case("a filter of 2000 taps", function()
  local n, family = millions { pass = "forward", input = { 1, 1, 50000 }, output = { 1, 1, 48001 }, kernel = { 1, 1, 2000 } }
  if n > 60 or family == "plain" then error(("%d million instructions, %s first"):format(n, family)) end
end)

return suite.failures()
