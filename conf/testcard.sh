#!/usr/bin/env bash
# The test broadcast: a moving picture, a clock for people, a clock for machines, a tone. Arguments go to ffmpeg
# as its output, so one script feeds the demo, the browser tests and the latency proof:
#
#   conf/testcard.sh -f flv rtmp://127.0.0.1/live/demo-key
#   SIZE=1080x1920 BFRAMES=2 SECONDS_LONG=10 conf/testcard.sh -y card.mp4
#   conf/testcard.sh --filter        # print the machine clock's filter, for other sources of pictures
#
# The machine clock is a strip of two rows of 32 square cells across the top of the picture, read back by
# tests/browser/counter.mjs. Each row: white, black, a 24-bit value, 4 check bits (the value mod 15), black, white;
# most significant bit first. Row 0 counts frames, row 1 is the wall clock in milliseconds, both modulo 2^24 (4.6 h).
# The strip is drawn 32x2 pixels small and enlarged, so it costs next to nothing; its cells are squares of width/32,
# so it survives every rung of a ladder. Both branches of the split get their time stamps back from the frame number.
set -euo pipefail

size=${SIZE:-1280x720}          # width x height, pixels
rate=${RATE:-30}                # frames per second, 30 or 30000/1001
gop=${GOP:-30}                  # frames from one IDR to the next
bitrate=${BITRATE:-2500k}       # video, bits per second
bframes=${BFRAMES:-0}           # 0 is tuned for latency; OBS sends 2 unless told otherwise
preset=${PRESET:-veryfast}      # x264 preset
sample_rate=${SAMPLE_RATE:-48000}
first=${FIRST:-0}               # number of the first frame, for a broadcast that goes on after another
seconds=${SECONDS_LONG:-}       # empty: until interrupted
tracks=${TRACKS:-av}            # av, v or a
pace=${PACE:-real}              # real: as fast as the clock; free: as fast as the machine (the wall clock then tells nothing)

width=${size%x*} height=${size#*x}

restamp='setpts=round(N/FRAME_RATE/TB)' # a quotient a hair too small would be the frame before
value="mod(if(Y,floor(T*1000+0.5),N+$first),16777216)"
word="st(0,$value)*16+mod(ld(0),15)"
cell="if(eq(X,0)+eq(X,31),255,if(eq(X,1)+eq(X,30),0,255*mod(floor(($word)/pow(2,29-X)),2)))"
clock="$restamp,split[picture][strip];"
clock+="[strip]crop=32:2:0:0,format=gray,settb=1/1000,setpts=RTCTIME/1000,geq=lum='$cell',"
clock+="scale=iw*$width/32:ih*$width/32:flags=neighbor,format=yuv420p,$restamp[clock];"
clock+="[picture][clock]overlay=0:0"

if [[ ${1:-} == --filter ]]; then
    printf '%s\n' "$clock"
    exit
fi
(($#)) || { sed -n '2,15s/^# \{0,1\}//p' "$0" >&2; exit 64; }

short=$((width < height ? width : height))
text="drawtext=text='%{localtime\:%T}':fontsize=$((short / 8)):fontcolor=white:box=1:boxcolor=black@0.6"
text+=":boxborderw=$((short / 40)):x=(w-tw)/2:y=(h-th)/2"

args=(-hide_banner -loglevel "${LOGLEVEL:-warning}" -nostdin)
[[ $pace == real ]] && re=(-re) || re=()
if [[ $tracks == *v* ]]; then
    args+=("${re[@]}" -f lavfi -i "testsrc2=size=$size:rate=$rate")
fi
if [[ $tracks == *a* ]]; then
    args+=("${re[@]}" -f lavfi -i "sine=frequency=440:beep_factor=2:sample_rate=$sample_rate,volume=0.3,aformat=channel_layouts=stereo")
fi
if [[ $tracks == *v* ]]; then
    args+=(-vf "format=yuv420p,$text,$clock" -c:v libx264 -preset "$preset" -b:v "$bitrate" -maxrate "$bitrate" -bufsize "$bitrate"
        -g "$gop" -keyint_min "$gop" -sc_threshold 0 -bf "$bframes")
    ((bframes)) || args+=(-tune zerolatency)
fi
[[ $tracks == *a* ]] && args+=(-c:a aac -b:a 128k)
[[ -n $seconds ]] && args+=(-t "$seconds")

exec ffmpeg "${args[@]}" "$@"
