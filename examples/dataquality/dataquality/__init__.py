"""Data quality of a scan while it is being measured, as Zocalo services.

images       the detector: geometry, reading and atomic writing of its TIFF files
simulate     a beamline without a beam: writes the images of a grid scan at detector pace
spots        spot finding on one image (pure)
watching     which images are new, and whether to go on waiting (pure)
collecting   the results of a scan, whatever their order, once or twice (pure)
figure       the plot of a scan
filewatcher, spotcounter, scanplot   the services around them
"""
