"""How much GPU memory a configuration will take, said before it is trained, and corrected by what trials report.

A child process rehearses one training step on tensors without contents (:mod:`~raytune_suite.memory.rehearsal`); what
it would allocate is laid out as PyTorch's CUDA allocator lays it out (:mod:`~raytune_suite.memory.allocator`).
"""
