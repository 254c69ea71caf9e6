"""Converts a network of one layer: what ExecuTorch works out at its first conversion is then known to all forks."""

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config
from executorch.exir import to_edge_transform_and_lower
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

example = (torch.zeros(1, 3, 8, 8),)
network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()).eval()
quantizer = XNNPACKQuantizer()
quantizer.set_global(get_symmetric_quantization_config())
prepared = prepare_pt2e(torch.export.export(network, example).module(), quantizer)
prepared(*example)
program = torch.export.export(convert_pt2e(prepared), example)
to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
