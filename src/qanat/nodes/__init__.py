"""A tunnel's nodes: the hosts that its connector tokens name. Which of them gets requests (mode, active node, epoch), which get
none (fences), and how the active one is replaced (promotions). On the terms of `control`: a function takes the open write."""
