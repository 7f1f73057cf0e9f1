"""Networks in plain NumPy, for learning from the ground up: every gradient is written out and checked.

from baselines.numpy_nets.mlp import MLP
net = MLP((784, 128, 10))
loss = net.loss_and_gradient(images, labels)   # net.gradient now holds dL/dtheta
"""
