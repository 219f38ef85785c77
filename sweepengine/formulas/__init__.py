"""Every cost formula, once: plain Python on unbounded integers, which the kernel compiles."""
