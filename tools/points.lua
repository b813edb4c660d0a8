-- points.lua: searches points for Toom-Cook schemes and measures their errors; prints the table of them.
--
--   lua5.4 tools/points.lua                    the table: > tests/gen/measured/schemes.lua (minutes)
--   lua5.4 tools/points.lua OUTPUTS TAPS [N]   the best N sets of points for F(OUTPUTS, TAPS), best first
--
-- What is measured is what the family computes: straight-line transforms in f32, a chain of fma over channels, on uniform
-- [-1, 1] data of a fixed seed, at least 4,096 outputs; its normwise error over that of a plain loop (one accumulator, separate
-- multiply and add, taps then channels) on the same data. Rounding to f32 is done in doubles and compared with string.pack.
package.path = arg[0]:gsub("tools/points%.lua$", "") .. "gen/?.lua;" .. package.path
local toomcook, straight = require "toomcook", require "straight"

local pooled = 4096
local channel_counts = { 1, 3, 16, 64 }

-- Points that fractions of few bits can be, at least 1/4 and at most 4; a finite set is 0, pairs of +-p, and one more where the
-- number is even.
local magnitudes = {}
for word in ("1/4 3/8 1/2 5/8 3/4 7/8 1 5/4 3/2 7/4 2 5/2 3 4"):gmatch "%S+" do magnitudes[#magnitudes + 1] = word end

---- f32 in doubles ---------------------------------------------------------------------------------------------------------------

-- To 24 bits, ties to even, as Veltkamp splits a number.
local splitter = 2.0 ^ 29 + 1
local function round(x)
  local t = x * splitter
  return t - (t - x)
end

local state = 1
local function uniform() -- xorshift64*; 24 bits, so that it is exact in f32
  state = state ~ (state >> 12); state = state ~ (state << 25); state = state ~ (state >> 27)
  return ((state * 0x2545F4914F6CDD1D) >> 39) * 2.0 ^ -24 - 1
end

for _ = 1, 10000 do
  local x = uniform() * uniform() * 2.0 ^ (10 * uniform() // 1)
  assert(round(x) == string.unpack("f", string.pack("f", x)), "rounding to f32 in doubles is wrong")
end

---- transforms as functions --------------------------------------------------------------------------------------------------------

-- f(x, from, step, y, to, stride): y = matrix * x, in f32.
local function compiled(matrix)
  local s = straight.of(matrix)
  local lines = { "local x, from, step, y, to, stride = ..." }
  local function say(fmt, ...) lines[#lines + 1] = fmt:format(...) end
  for i = 1, s.inputs do say("local v%d = x[from + %d * step]", i, i - 1) end
  for n, op in ipairs(s.operations) do
    local c = op.c and round(toomcook.number(op.c))
    local text = op.op == "add" and ("v%d + v%d"):format(op.x, op.y) or op.op == "sub" and ("v%d - v%d"):format(op.x, op.y) or
      op.op == "mul" and ("v%d * %a"):format(op.x, c) or ("v%d + v%d * %a"):format(op.x, op.y, c)
    say("local v%d = %s; local t = v%d * 0x20000001p0; v%d = t - (t - v%d)", s.inputs + n, text, s.inputs + n, s.inputs + n,
      s.inputs + n)
  end
  for i, value in ipairs(s.results) do say("y[to + %d * stride] = %s", i - 1, value and "v" .. value or "0.0") end
  return assert(load(table.concat(lines, "\n")))
end

local transforms = setmetatable({}, { __mode = "k" })
local function functions_of(scheme)
  if not transforms[scheme] then
    transforms[scheme] = { G = compiled(scheme.G), BT = compiled(scheme.BT), AT = compiled(scheme.AT) }
  end
  return transforms[scheme]
end

-- y (rows x columns of `after`) = F x F', x being rows x columns of `before`; each axis has its own transform.
local function both_axes(down, across, x, before, after)
  local middle, y = {}, {}
  for c = 0, before[2] - 1 do down(x, c, before[2], middle, c, before[2]) end
  for r = 0, after[1] - 1 do across(middle, r * before[2], 1, y, r * after[2], 1) end
  return y
end

---- an experiment: data, exact results, the loop's error ------------------------------------------------------------------------------

local function random_array(n)
  local a = {}
  for i = 0, n - 1 do a[i] = uniform() end
  return a
end

-- Tiles of m[1] x m[2] outputs of a kernel of r[1] x r[2] taps with strides s.
local function experiment_of(m, r, s, channels, outputs)
  state = 20 + channels
  local e = { m = m, r = r, channels = channels, size = { (m[1] - 1) * s[1] + r[1], (m[2] - 1) * s[2] + r[2] }, src = {}, weights = {},
    exact = {} }
  e.outs = channels <= 3 and 16 or 8
  e.tiles = -(-outputs // (m[1] * m[2] * e.outs))
  for t = 1, e.tiles do
    e.src[t] = {}
    for c = 1, channels do e.src[t][c] = random_array(e.size[1] * e.size[2]) end
  end
  for o = 1, e.outs do
    e.weights[o] = {}
    for c = 1, channels do e.weights[o][c] = random_array(r[1] * r[2]) end
  end
  local loop2 = 0.0
  for t = 1, e.tiles do
    for o = 1, e.outs do
      for y = 0, m[1] - 1 do
        for x = 0, m[2] - 1 do
          local exact, loop = 0.0, 0.0
          for kh = 0, r[1] - 1 do
            for kw = 0, r[2] - 1 do
              local at, tap = (y * s[1] + kh) * e.size[2] + x * s[2] + kw, kh * r[2] + kw
              for c = 1, channels do
                local p = e.src[t][c][at] * e.weights[o][c][tap]
                exact = exact + p
                local q = p * splitter; q = q - (q - p)
                local sum = loop + q
                q = sum * splitter; loop = q - (q - sum)
              end
            end
          end
          e.exact[#e.exact + 1] = exact
          loop2 = loop2 + (loop - exact) ^ 2
        end
      end
    end
  end
  e.loop2 = loop2
  return e
end

local experiments = {}
local function experiment(m, r, s, channels, outputs)
  local key = ("%d %d %d %d %d %d %d %d"):format(m[1], m[2], r[1], r[2], s[1], s[2], channels, outputs)
  experiments[key] = experiments[key] or experiment_of(m, r, s, channels, outputs)
  return experiments[key]
end

-- Phases of a scheme's axis with `taps` taps and a stride (as in rewrite/winograd/grid.lua): {first tap, scheme}.
local function phases_of(scheme, taps, stride)
  local list = {}
  for first = 0, stride - 1 do
    local short = (taps - first + stride - 1) // stride < scheme.taps
    list[first + 1] = { first = first, scheme = short and toomcook.short(scheme) or scheme }
  end
  return list
end

-- Every s-th element of x, an array of `columns` columns, from `first` on, on both axes: `size` of them.
local function every(x, columns, first, s, size)
  local y = {}
  for r = 0, size[1] - 1 do
    for c = 0, size[2] - 1 do y[r * size[2] + c] = x[(first[1] + r * s[1]) * columns + first[2] + c * s[2]] end
  end
  return y
end

-- The normwise error of the schemes down and across over the loop's; with strides {taps, stride} of both axes.
local function measure(down, across, channels, outputs, strided)
  local of = strided or { { down.taps, 1 }, { across.taps, 1 } }
  local m, r, step = { down.outputs, across.outputs }, { of[1][1], of[2][1] }, { of[1][2], of[2][2] }
  local e = experiment(m, r, step, channels, outputs or pooled)
  local size, terms, error2, n = { down.size, across.size }, {}, 0.0, 0
  for _, a in ipairs(phases_of(down, r[1], step[1])) do
    for _, b in ipairs(phases_of(across, r[2], step[2])) do
      for c = 1, channels do
        terms[#terms + 1] = { channel = c, first = { a.first, b.first }, down = functions_of(a.scheme), across = functions_of(b.scheme),
          size = { a.scheme.size, b.scheme.size }, taps = { a.scheme.taps, b.scheme.taps } }
      end
    end
  end
  local function transformed(x, columns, matrix, before)
    local list = {}
    for i, term in ipairs(terms) do
      local y = every(x[term.channel], columns, term.first, step, term[before])
      list[i] = both_axes(term.down[matrix], term.across[matrix], y, term[before], term.size)
    end
    return list
  end
  local U, d, a = {}, functions_of(down), functions_of(across)
  for o = 1, e.outs do U[o] = transformed(e.weights[o], r[2], "G", "taps") end
  for t = 1, e.tiles do
    local V = transformed(e.src[t], e.size[2], "BT", "size")
    for o = 1, e.outs do
      local M = {}
      for f = 0, size[1] * size[2] - 1 do M[f] = 0.0 end
      for i, term in ipairs(terms) do
        local v, u, columns = V[i], U[o][i], term.size[2]
        for y = 0, term.size[1] - 1 do
          for x = 0, columns - 1 do
            local f = y * size[2] + x
            local s = M[f] + v[y * columns + x] * u[y * columns + x]
            local q = s * splitter; M[f] = q - (q - s)
          end
        end
      end
      local y = both_axes(d.AT, a.AT, M, size, m)
      for i = 0, m[1] * m[2] - 1 do
        n = n + 1
        error2 = error2 + (y[i] - e.exact[n]) ^ 2
      end
    end
  end
  return math.sqrt(error2 / e.loop2)
end

local identity = toomcook.scheme(1, 1)

---- the search -------------------------------------------------------------------------------------------------------------------------

-- Texts of sets of `count` finite points.
local function candidates(count)
  local list = {}
  local function pairs_from(first, left, text)
    if left == 0 then list[#list + 1] = text; return end
    if left == 1 then
      for _, p in ipairs(magnitudes) do
        if not (" " .. text .. " "):find(" " .. p .. " ", 1, true) then
          list[#list + 1] = text .. " " .. p -- -p is its mirror image
        end
      end
      return
    end
    for i = first, #magnitudes do
      local p = magnitudes[i]
      pairs_from(i + 1, left - 2, text .. (" %s -%s"):format(p, p))
    end
  end
  if count == 0 then return { "" } end
  pairs_from(1, count - 1, "0")
  return list
end

-- The best sets, {points, error of the square scheme at 16 channels}: all are measured along a line with fewer outputs, the best forty as squares.
local function search(outputs, taps)
  local ranked = {}
  for _, points in ipairs(candidates(outputs + taps - 2)) do
    local ok, scheme = pcall(toomcook.scheme, outputs, taps, points)
    if ok then ranked[#ranked + 1] = { points = points, scheme = scheme, error = measure(identity, scheme, 3, pooled // 8) } end
  end
  table.sort(ranked, function(a, b) return a.error < b.error end)
  for i = 41, #ranked do ranked[i] = nil end
  for _, row in ipairs(ranked) do row.error = measure(row.scheme, row.scheme, 16) end
  table.sort(ranked, function(a, b) return a.error < b.error end)
  return ranked
end

---- the table --------------------------------------------------------------------------------------------------------------------------

local function errors(down, across, strided)
  local list = {}
  for i, channels in ipairs(channel_counts) do list[i] = ("%.2f"):format(measure(down, across, channels, nil, strided)) end
  return "{ " .. table.concat(list, ", ") .. " }"
end

local head = [[
-- schemes.lua: Toom-Cook schemes with their errors; written by tools/points.lua, which says how they are measured.
--
-- points: finite ones, beside infinity; gen/toomcook.lua must have the same. square: the normwise error over the plain loop's of
-- outputs x outputs tiles of a taps x taps kernel, line: of a 1 x taps kernel, at 1, 3, 16 and 64 channels. mixed: of tiles of two
-- sizes, down and across. strided: of taps with a stride, whose phases have the points of F(outputs, taps / stride rounded up).
-- The errors chose the points and test the prediction (gen/rewrite/winograd/error.lua).
local schemes = { channels = { 1, 3, 16, 64 } }
]]

-- Sizes that are worth their arithmetic: at most eight inputs a tile.
local function sizes()
  local list = {}
  for taps = 2, 7 do
    for outputs = 2, 7 do
      if outputs + taps <= 9 then list[#list + 1] = { outputs, taps } end
    end
  end
  return list
end

-- Phases of one tap save nothing.
local function print_strided(best)
  io.write "schemes.strided = {\n"
  for _, kind in ipairs { { 3, 2 }, { 4, 2 }, { 5, 2 }, { 6, 2 }, { 7, 2 }, { 4, 3 }, { 5, 3 }, { 7, 3 } } do
    local taps, stride = table.unpack(kind)
    for outputs = 2, 7 do
      local scheme = best[(taps + stride - 1) // stride][outputs]
      if not scheme then break end
      io.write(("  { outputs = %d, taps = %d, stride = %d,\n    square = %s, line = %s },\n"):format(outputs, taps, stride,
        errors(scheme, scheme, { kind, kind }), errors(identity, scheme, { { 1, 1 }, kind })))
      io.stdout:flush()
      experiments = {}
    end
  end
  io.write "}\n"
end

local function print_table()
  local best = {}
  io.write(head, "\nschemes.rows = {\n")
  for _, size in ipairs(sizes()) do
    local outputs, taps = table.unpack(size)
    local row = search(outputs, taps)[1]
    best[taps] = best[taps] or {}
    best[taps][outputs] = row.scheme
    io.write(("  { outputs = %d, taps = %d, points = %q,\n    square = %s, line = %s },\n"):format(outputs, taps, row.points,
      errors(row.scheme, row.scheme), errors(identity, row.scheme)))
    io.stdout:flush()
    experiments = {}
  end
  io.write "}\n\nschemes.mixed = {\n"
  for _, taps in ipairs { 3, 5 } do
    for down = 2, 7 do
      for across = 2, 7 do
        local a, b = best[taps][down], best[taps][across]
        if a and b and down < across then
          io.write(("  { outputs = { %d, %d }, taps = %d, errors = %s },\n"):format(down, across, taps, errors(a, b)))
          io.stdout:flush()
          experiments = {}
        end
      end
    end
  end
  io.write "}\n\n"
  print_strided(best)
  io.write "\nreturn schemes\n"
end

local outputs, taps, most = math.tointeger(arg[1]), math.tointeger(arg[2]), math.tointeger(arg[3] or "10")
if not arg[1] then
  print_table()
elseif outputs and taps and most and outputs >= 1 and taps >= 1 and outputs + taps <= 11 then
  for i, row in ipairs(search(outputs, taps)) do
    if i <= most then print(("%.3f  %s"):format(row.error, row.points)) end
  end
else
  io.stderr:write("points.lua: OUTPUTS and TAPS are whole numbers from 1 with a sum of at most 11, N how many sets to show\n")
  os.exit(2)
end
