"""Tables: the averages, the paper's tables, differences between methods, costs."""
