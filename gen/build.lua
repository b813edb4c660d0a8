-- build.lua: what a schedule's stages are built in: the problem, the target, what else they have in common, and the
-- kernels so far, in the order in which they are made. Bodies run where their stage is made and ask for kernels by key:
-- each is made once. Numbers tell kernels of one hint apart; a name is taken before the kernel is added.
local program, types = require "program", require "types"
local build = {}
local Build = {}
Build.__index = Build

-- fields: what else stages have in common.
function build.new(p, target, fields)
  local b = fields or {}
  b.p, b.target, b.kernels, b.known = p, target, {}, {}
  return setmetatable(b, Build)
end

-- What a program needs beside what it does: fields of `o`, or a new table.
function Build:called(name, o)
  o = o or {}
  o.name, o.type, o.target = name, types.computed(self.p), self.target
  return o
end

function Build:named(hint, o) return self:called(hint .. #self.kernels, o) end

function Build:add(kernel)
  self.kernels[#self.kernels + 1] = kernel
  return kernel
end

-- The kernel of a key, which make(o) makes when it is asked for first. make may answer nil and why not: then there is
-- no such kernel (false), which a driver may call all the same, and the first reason is left in b.why.
function Build:kernel(key, hint, make)
  if self.known[key] == nil then
    local kernel, why = make(self:named(hint))
    self.known[key] = kernel and self:add(kernel) or false
    if not kernel then self.why = self.why or why end
  end
  return self.known[key]
end

-- A kernel without a key.
function Build:new(hint, make) return self:kernel({}, hint, make) end

-- Finished kernels' pointers are to what the tensors of a problem are stored as.
function build.stored(p, kernels)
  for _, kernel in ipairs(kernels) do program.stored(kernel, function(base) return types.of(p, base) end) end
end

return build
