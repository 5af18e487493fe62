"""The engines that turn offset ranges into Arrow, behind one seam."""
