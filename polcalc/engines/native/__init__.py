"""The native engine: TensorNet in compiled code on the CPU."""
