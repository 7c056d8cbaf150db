"""Ways to split replicas between spot and on-demand, played side by side beside real Karpenter."""
