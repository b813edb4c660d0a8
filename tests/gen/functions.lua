-- functions.lua: what activations and functions do to a register, in machine code and in C: the bits that the reference's
-- functions of one number have, which the build makes of the same programs. Special values, and numbers of all exponents.
local gen = package.path:match "([^;]*)/%?%.lua"
package.path = package.path .. ";" .. gen .. "/../tools/?.lua"
local suite = require "suite"
local program, targets, registers = require "program", require "targets", require "registers"
local c, machine, types = require "lower/c", require "lower/machine", require "types"
local activations, functions, steps = require "activations", require "functions", require "steps"

local seed = tonumber(os.getenv "CONVGEN_SEED") or os.time()
print("seed " .. seed)

local parameters = { clamp = { -0.5, 6 }, leaky = { 0.1, -0.4 }, hardsigmoid = { 0.2, 0.5 } }
local head = [[
#define INLINE static inline
#include <stdint.h>
#include <string.h>
#include <stdio.h>
#include <math.h>
@STEPS@typedef @T@ T;
enum { N = 4096 };
static T in[N], slope[N], got[N], want[N];
static uint64_t state = @SEED@ull;
static void fill(void)
{
    static const double special[] = { 0, -0.0, INFINITY, -INFINITY, NAN, 1, -1, 3, -3, 6, 88, -88, 89, -104, 710, -746, 0x1p-149, -0x1p-149, 0x1p-1074,
        0x1p-126, 0x1p-1022, 0.7071067811865476, 1.4142135623730951, 13.25, -13.25, 1e30, -1e30 };
    for (int i = 0; i < N; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        uint64_t word = state ^ state >> 31;
        if (i & 1) word = (word & 0x800FFFFFFFFFFFFFu) | (uint64_t)(1023 - 12 + word % 20) << 52;
        double x;
        memcpy(&x, &word, 8);
        in[i] = (T)(i < (int)(sizeof special / sizeof special[0]) ? special[i] : x);
        slope[i] = (T)0.3 * (T)(i % 5);
    }
}
static int same(const char *name)
{
    for (int i = 0; i < N; i++)
        if (!(isnan(got[i]) && isnan(want[i])) && memcmp(&got[i], &want[i], sizeof(T))) return printf("%s of %a: %a, not %a\n", name, in[i], got[i], want[i]), 0;
    return 1;
}
]]

-- One vector of `in` through a program.
local function kernel(row, type_, target)
  local e = parameters[row.name] or { 0, 0 }
  local p = { epilogue = { activation = row.name, lo = e[1], hi = e[2] } }
  local k = program.new { name = row.name .. "_program", type = type_, target = target }
  local from, slopes, to = k:pointer("from", "in"), k:pointer("slopes", "in"), k:pointer("to", "out")
  local y, temp = k:vector "y", k:vector "temp"
  k:load(y, k:at(from))
  k:load(temp, k:at(slopes))
  k.activates = true
  row.program(k, y, p.epilogue, temp)
  k:store(k:at(to), y)
  k:finish()
  assert(registers.allocate(k, target))
  return k
end

local function rows()
  local list = { table.unpack(activations.list, 2) }
  return table.move(functions.list, 1, #functions.list, #list + 1, list)
end

local function source(type_, target)
  local list, texts, main = {}, {}, { "int main(void)\n{\n    int good = 1;\n    fill();" }
  for i, row in ipairs(rows()) do
    local k, e = kernel(row, type_, target), parameters[row.name] or { 0, 0 }
    list[i] = k
    texts[#texts + 1] = steps.text(row.name, type_, row.program)
    texts[#texts + 1] = machine.kernel(k, target)
    texts[#texts + 1] = c.kernel(k):gsub("^static void ", "static void c_")
    main[#main + 1] = ("    for (int i = 0; i < N; i++) want[i] = %s_%s(in[i], (T)%g, (T)%g, slope[i]);"):format(row.name, type_, e[1], e[2])
    for _, form in ipairs { "", "c_" } do
      main[#main + 1] = ('    for (int i = 0; i < N; i += %d) %s%s(in + i, slope + i, got + i);\n    good &= same("%s%s");')
        :format(k.lanes, form, k.name, form, row.name)
    end
  end
  local start = head:gsub("@(%u+)@", { T = types.c(type_), SEED = seed, STEPS = steps.head(type_) })
  return table.concat({ c.prelude(type_, target) .. c.beyond(list), machine.prelude(), start, table.concat(texts, "\n"),
    table.concat(main, "\n"), "    return !good;\n}\n" }, "\n")
end

local function here(target)
  local pipe = assert(io.popen "grep -m1 ^flags /proc/cpuinfo 2>/dev/null")
  local features = " " .. pipe:read "a":gsub("\n", " ") .. " "
  pipe:close()
  for _, need in ipairs(target.needs) do if not features:find(" " .. need .. " ", 1, true) then return false end end
  return true
end

local function run(folder, type_, name)
  local f = assert(io.open(folder .. "/f.c", "w"))
  f:write(source(type_, targets[name]))
  f:close()
  local flags = targets[name].flags
  for _, command in ipairs { ("%s -O1 -w %s -ffp-contract=off %s/f.c -o %s/f -lm"):format(os.getenv "CC" or "cc", flags, folder, folder),
    folder .. "/f" } do
    assert(os.execute(command), command .. (" (CONVGEN_SEED=%d)"):format(seed))
  end
end

for _, name in ipairs { "avx512", "avx2" } do
  for _, type_ in ipairs { "f32", "f64" } do
    if here(targets[name]) then
      suite.case(("activations and functions %s %s"):format(name, type_), function()
        local pipe = assert(io.popen "mktemp -d")
        local folder = pipe:read "l"
        pipe:close()
        local good, why = pcall(run, folder, type_, name)
        os.execute("rm -rf " .. folder)
        assert(good, why)
      end)
    else
      print(("left out: %s, which this processor lacks"):format(name))
    end
  end
end
return suite.failures()
