"""Speed and memory of resnet_sde beside the usual way and beside what the machine allows."""
