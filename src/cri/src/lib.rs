//! The Container Runtime Interface v1, the one seam between kubelet and runtimes.
