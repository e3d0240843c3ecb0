"""Pictures and videos in, masks out. Knows prompts and models not at all: only frames and `masklet.types.Masks`.

In:
    open_frames(source, *, fps=None) -> Frames     stored: video file, folder, glob, TIFF stack, arrays, PIL images
    stream(source) -> Stream                       seen once: camera index, URL, iterator; an iterator of arrays
    read_image(source) -> (H, W, 3) uint8          one picture: array, PIL image or path

    Frames and Stream both are a `Source`: .name, .size (H, W), .fps, .time(frame) in seconds, .file_name(frame)
    Frames: len(frames), frames[i], iter(frames), frames.play(start)

Out, all with write(image, masks) a frame and close(), and usable in `with`:
    PalettePngs(folder)            folder/00000.png, pixel = object id
    ObjectPngs(folder)             folder/001/00000.png, one folder an object (SA-V)
    MaskletsJson(path, source)     per frame and object: RLE, IoU, object score, box; valid after every frame
    CocoJson(path, source)         COCO instances, for pictures
    YouTubeVisJson(path, source)   YouTube-VIS, for a video
    SavJson(path, source)          SA-V, for a video
    PolygonsJson(path, source)     outlines with their holes
    YoloTxts(folder)               folder/00000.txt, YOLO segmentation labels
    OverlayVideo(path, source)     H.264 in the source's own time
    OverlayPng(path)               one picture
    Writers(*writers)              several as one

Back:
    read_label_map(path) -> int32 (H, W);  read_label_maps(folder) -> Iterator[(stem, label map)];  read_masklets(path) -> Iterator[Masks]
"""
