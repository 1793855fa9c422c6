# tfgma in a container; EXTRA is runtime (predict alone) or train.
#   docker build --build-arg EXTRA=runtime -t tfgma .
#   docker run --rm -v "$PWD:/data" -v tfgma-cache:/cache tfgma predict new.mp4 --model bundle --report pages
FROM python:3.12-slim
# What OpenCV and MediaPipe load.
RUN apt-get update \
 && apt-get install -y --no-install-recommends libegl1 libgl1 libgles2 libglib2.0-0 \
 && rm -rf /var/lib/apt/lists/*
ARG EXTRA=runtime
COPY . /src
# The lock's versions, without the packages that EXTRA does not need.
RUN grep -oE '^[A-Za-z0-9._-]+==[^\\]+' /src/requirements.lock > /pins.txt \
 && pip install --no-cache-dir --constraint /pins.txt "/src[${EXTRA}]" \
 && rm -rf /src /pins.txt
# The pose networks, fetched at the first use.
ENV TFGMA_CACHE=/cache
VOLUME /cache
WORKDIR /data
ENTRYPOINT ["tfgma"]
