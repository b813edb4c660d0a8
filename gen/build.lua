-- build.lua: what a schedule's stages are built in: the problem, the target, and the kernels so far, in the order in
-- which they are made. Numbers tell kernels of one hint apart; a name is taken before the kernel is added.
local build = {}
local Build = {}
Build.__index = Build

function build.new(p, target) return setmetatable({ p = p, target = target, kernels = {}, known = {} }, Build) end

-- What a program needs beside what it does: fields of `o`, or a new table.
function Build:called(name, o)
  o = o or {}
  o.name, o.type, o.target = name, self.p.type, self.target
  return o
end

function Build:named(hint, o) return self:called(hint .. #self.kernels, o) end

function Build:add(kernel)
  self.kernels[#self.kernels + 1] = kernel
  return kernel
end

-- The kernel of a key, which make(o) makes when it is asked for first.
function Build:kernel(key, hint, make)
  self.known[key] = self.known[key] or self:add(make(self:named(hint)))
  return self.known[key]
end

return build
