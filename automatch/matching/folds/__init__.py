"""Stage 4: what one side keeps in one tensor and the other in several becomes one: q, k, v; gates; stacks; layers."""
