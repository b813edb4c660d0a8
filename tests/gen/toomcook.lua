-- Toom-Cook transforms: the exact identity for many sizes and points, nested schemes, what is refused; straight-line programs.
local suite = require "suite"
local toomcook, straight = require "toomcook", require "straight"
local case, equal, refuses = suite.case, suite.equal, suite.refuses
local fraction = toomcook.fraction

-- A correlation by three exact transforms, against the definition.
local function correlate(s, d, g)
  local function times(rows, x)
    local y = {}
    for i, row in ipairs(rows) do
      y[i] = fraction(0)
      for j, c in ipairs(row) do y[i] = y[i] + c * x[j] end
    end
    return y
  end
  local u, v, m = times(s.G, g), times(s.BT, d), {}
  for f = 1, s.size do m[f] = u[f] * v[f] end
  return times(s.AT, m)
end

local function check(s)
  local d, g = {}, {}
  for i = 1, s.size do d[i] = fraction((i * 7 + 3) % 11 - 5) end
  for j = 1, s.taps do g[j] = fraction((j * 5 + 1) % 7 - 3) end
  for k, y in ipairs(correlate(s, d, g)) do
    local want = fraction(0)
    for j = 1, s.taps do want = want + d[k + j - 1] * g[j] end
    equal(tostring(y), tostring(want))
  end
end

case("every scheme of the known points is a correlation", function()
  for outputs = 1, 8 do
    for taps = 1, 7 do
      if outputs + taps <= 11 then check(toomcook.scheme(outputs, taps)) end
    end
  end
end)

case("other points", function()
  for _, row in ipairs { { 4, 3, "0 1 -1 2 -2" }, { 4, 3, "1/3 -7/5 2 9/4 -3" }, { 2, 5, "0 3/4 -3/4 4/3 -4/3" }, { 2, 3, "0 1 2" },
    { 6, 3, "0 1/2 -1/2 5/4 -5/4 2 -2" } } do
    check(toomcook.scheme(table.unpack(row)))
  end
end)

case("nested schemes use the big one's weights", function()
  for taps = 2, 5 do
    for outputs = 2, 9 - taps do
      local big = toomcook.scheme(outputs, taps)
      for fewer = 1, outputs do
        local s = toomcook.nested(big, fewer)
        check(s)
        for f = 1, s.size do
          for j = 1, taps do equal(s.G[f][j], big.G[s.at[f]][j]) end
        end
      end
    end
  end
end)

case("short schemes are the big one without infinity", function()
  for taps = 2, 5 do
    for outputs = 2, 9 - taps do
      local big = toomcook.scheme(outputs, taps)
      for _, whole in ipairs { big, toomcook.nested(big, outputs - 1) } do
        local s = toomcook.short(whole)
        check(s)
        equal(s.size, whole.size - 1)
        for f = 1, s.size do
          for j = 1, taps - 1 do equal(s.G[f][j], big.G[f][j]) end
        end
      end
    end
  end
end)

case("matrices of dyadic points are dyadic where data pass", function()
  local s = toomcook.scheme(4, 3)
  for _, rows in ipairs { s.AT, s.BT } do
    for _, row in ipairs(rows) do
      for _, x in ipairs(row) do equal(x.d & (x.d - 1), 0) end
    end
  end
end)

case("F(2,3) is Winograd's", function()
  local s = toomcook.scheme(2, 3)
  local function text(rows)
    local lines = {}
    for i, row in ipairs(rows) do
      local words = {}
      for j, x in ipairs(row) do words[j] = tostring(x) end
      lines[i] = table.concat(words, " ")
    end
    return table.concat(lines, "; ")
  end
  equal(text(s.AT), "1 1 1 0; 0 1 -1 1")
  equal(text(s.G), "-1 0 0; 1/2 1/2 1/2; 1/2 -1/2 1/2; 0 0 1")
  equal(text(s.BT), "-1 0 1 0; 0 1 1 0; 0 -1 1 0; 0 -1 0 1")
end)

case("what is refused", function()
  refuses("the point 1/2 stands twice", function() toomcook.scheme(2, 3, "0 1/2 2/4") end)
  refuses("3 points and infinity are needed, not 2", function() toomcook.scheme(2, 3, "0 1") end)
  refuses("no points for F(28,2)", function() toomcook.scheme(28, 2) end)
  refuses("'x' is no fraction", function() toomcook.scheme(2, 3, "0 x 1") end)
  refuses("overflows", function() toomcook.scheme(4, 3, "0 123456789/1000 -987654321/7 3 99999989/13") end)
  refuses("divides by zero", function() fraction(1, 0) end)
  refuses("has no nested", function() toomcook.nested(toomcook.scheme(2, 3), 3) end)
end)

---- straight-line programs -----------------------------------------------------------------------------------------------------

-- The exact results of a program.
local function run(s, x)
  local values = table.move(x, 1, s.inputs, 1, {})
  for n, op in ipairs(s.operations) do
    local a, b = values[op.x], op.y and values[op.y]
    values[s.inputs + n] = op.op == "add" and a + b or op.op == "sub" and a - b or op.op == "mul" and a * op.c or a + b * op.c
  end
  local y = {}
  for i, value in ipairs(s.results) do y[i] = value and values[value] or fraction(0) end
  return y
end

local function check_straight(matrix, present)
  local s, x = straight.of(matrix, present), {}
  for i = 1, s.inputs do x[i] = (not present or present[i]) and fraction(i * i % 13 - 4, i % 3 + 1) or false end
  for i, y in ipairs(run(s, x)) do
    local want = fraction(0)
    for j, c in ipairs(matrix[i]) do
      if x[j] then want = want + c * x[j] end
    end
    equal(tostring(y), tostring(want))
  end
end

case("straight-line programs are their matrices, with any inputs absent", function()
  for _, size in ipairs { { 2, 3 }, { 3, 3 }, { 4, 3 }, { 5, 3 }, { 6, 3 }, { 2, 5 }, { 4, 5 }, { 2, 7 }, { 1, 3 }, { 3, 1 } } do
    local big = toomcook.scheme(size[1], size[2])
    for _, s in ipairs { big, toomcook.nested(big, 1), toomcook.nested(big, math.max(1, size[1] - 1)) } do
      check_straight(s.AT)
      check_straight(s.G)
      for first = 1, s.size do
        for last = first, s.size do
          local present = {}
          for i = 1, s.size do present[i] = i >= first and i <= last end
          check_straight(s.BT, present)
        end
      end
    end
  end
end)

case("results have registers of their own", function()
  local program, targets = require "program", require "targets"
  local k = program.new { name = "k", type = "f32", target = targets.avx512 }
  local s = straight.of(toomcook.scheme(2, 3).BT, { false, false, true, true })
  local x, seen = { false, false, k:vector "x", k:vector "y" }, {}
  k:zero(x[3])
  k:zero(x[4])
  for _, r in ipairs(straight.emit(k, s, x, error)) do
    equal(seen[r], nil)
    seen[r] = true
  end
end)

case("pairs share their parts", function()
  local s = toomcook.scheme(4, 3)
  equal(straight.count(straight.of(s.BT)), 12)
  equal(straight.count(straight.of(s.AT)), 12)
  local f2 = toomcook.scheme(2, 3)
  equal(straight.count(straight.of(f2.BT)), 4)
end)

return suite.failures()
