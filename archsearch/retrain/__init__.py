"""Full trainings of chosen networks: plan, distillation, pretrained encoders."""
